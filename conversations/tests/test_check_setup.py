"""`manage.py check_setup`."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import responses
from django.contrib.auth.models import Group
from django.core.management import call_command

from conversations.management import setup_checks
from conversations.sign_in.provider import forget_provider
from inference_proxy.protocols import new_protocol
from tests.support.valkey import running_valkey

pytestmark = pytest.mark.django_db
Manage = Callable[..., str]
MODELS = {"current_model": "d32", "models": [{"model_tag": "d32", "source": "hf", "path": "/m", "loaded": True}]}


@pytest.fixture
def services(settings: Any) -> Iterator[responses.RequestsMock]:
    """An auth service that knows no token and an inference service with a model."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mocked:
        mocked.post(f"{settings.AUTH_SERVICE_URL}/auth/validate", json={"valid": False})
        mocked.get(settings.INFERENCE_SERVICE_URL + new_protocol().models_path, json=MODELS)
        yield mocked


def check(manage: Manage) -> dict[str, tuple[str, str]]:
    """Return the state and the detail of each check."""
    return {one["name"]: (one["state"], one["detail"]) for one in json.loads(manage("check_setup", "--json"))["checks"]}


@pytest.mark.usefixtures("services")
def test_a_good_installation_has_no_failure(manage: Manage) -> None:
    states = {name: state for name, (state, _) in check(manage).items()}
    assert "failed" not in states.values()
    assert states["database"] == states["migrations"] == states["clock"] == states["auth"] == states["inference"] == "ok"
    lines = manage("check_setup").splitlines()
    assert [line.split()[1].rstrip(":") for line in lines] == list(setup_checks.CHECKS)


def fails(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Run the command, which must fail, and return the details of the checks that failed."""
    with pytest.raises(SystemExit) as ended:
        call_command("check_setup", "--json")
    assert ended.value.code == 1
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["is_ok"] is False
    return {one["name"]: one["detail"] for one in printed["checks"] if one["state"] == "failed"}


def test_services_that_can_not_be_reached_fail(capsys: pytest.CaptureFixture[str], settings: Any) -> None:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mocked:
        mocked.post(f"{settings.AUTH_SERVICE_URL}/auth/validate", status=403, json={})
        failed = fails(capsys)
    assert set(failed) == {"auth", "inference"}
    assert "INTERNAL_API_KEY" in failed["auth"] and "INFERENCE_SERVICE_URL" in failed["inference"]
    assert settings.INTERNAL_API_KEY not in str(failed)


ISSUER = "https://id.example.com"


@pytest.mark.parametrize(
    ("metadata", "groups", "problem"),
    [
        ({}, {"a": "support"}, "ADMIN_OIDC_ISSUER"),
        ({"issuer": "https://other.example.com"}, {"a": "support"}, "ADMIN_OIDC_ISSUER"),
        (None, {"a": "suport", "b": "superusers"}, "groups that do not exist here: suport"),
        (None, {"a": "support", "b": "superusers"}, ""),
    ],
    ids=["no metadata", "another issuer", "a misspelt group", "all there"],
)
def test_single_sign_on_is_checked(
    services: responses.RequestsMock,
    manage: Manage,
    capsys: pytest.CaptureFixture[str],
    settings: Any,
    metadata: Any,
    groups: dict[str, str],
    problem: str,
) -> None:
    forget_provider()
    assert check(manage)["staff_sign_in"] == ("ok", "passwords with second factor optional")
    Group.objects.get_or_create(name="support")
    settings.ADMIN_OIDC_ISSUER, settings.ADMIN_OIDC_GROUPS = ISSUER, groups
    names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    told = {"issuer": ISSUER, **{name: f"{ISSUER}/{name}" for name in names}} if metadata is None else metadata
    services.get(f"{ISSUER}/.well-known/openid-configuration", json=told)
    if problem:
        assert problem in fails(capsys)["staff_sign_in"]
    else:
        assert check(manage)["staff_sign_in"] == ("ok", "single sign-on, passwords with second factor optional")
    forget_provider()


@pytest.mark.usefixtures("services")
def test_a_clock_that_is_wrong_fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    monkeypatch.setattr(setup_checks.time, "time", lambda: now() - 60)
    assert "differ by" in fails(capsys)["clock"]


@pytest.mark.usefixtures("services")
def test_a_database_that_is_not_ready_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"database": "encoding is LATIN1, not UTF8", "migrations": "pending"}
    monkeypatch.setattr(setup_checks, "check_readiness", lambda: state)
    failed = fails(capsys)
    assert failed["database"] == "encoding is LATIN1, not UTF8" and "manage.py migrate" in failed["migrations"]


@pytest.mark.usefixtures("services")
def test_a_shared_cache_is_written_and_read(manage: Manage, capsys: pytest.CaptureFixture[str], settings: Any) -> None:
    assert check(manage)["cache"][0] == "warning"
    with running_valkey() as server:
        shared = {"BACKEND": "chatapi.cache.shared_cache.SharedRedisCache", "LOCATION": server.connection_url}
        settings.CACHES = {"default": shared}
        assert check(manage)["cache"] == ("ok", "the shared cache keeps what is written")
    assert "CACHE_URL" in fails(capsys)["cache"]
