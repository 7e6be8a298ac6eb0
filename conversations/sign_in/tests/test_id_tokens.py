"""What an ID token must say, and who must have signed it."""

import time
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import pytest
from django.contrib.auth.models import User
from django.test import Client

from .scripted_provider import CLIENT_ID, ISSUER, Provider, make_key, public_key

pytestmark = pytest.mark.django_db

WRONG_CLAIMS = {
    "another issuer": {"iss": "https://evil.example.com"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "another-service"},
    "audiences without a party": {"aud": [CLIENT_ID, "another-service"]},
    "another party": {"aud": [CLIENT_ID, "another-service"], "azp": "another-service"},
    "another party of one audience": {"azp": "another-service"},
    "no audience": {"aud": None},
    "another nonce": {"nonce": "x" * 32},
    "no nonce": {"nonce": None},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "a long subject": {"sub": "x" * 256},
    "no end": {"exp": None},
    "no time": {"iat": None},
}


@pytest.mark.parametrize("wrong", WRONG_CLAIMS)
def test_wrong_claims_are_refused(client: Client, provider: Provider, wrong: str) -> None:
    provider.claims |= WRONG_CLAIMS[wrong]
    refused = provider.come_back(client)
    assert refused.status_code == 403
    assert "could not be verified" in refused.content.decode()
    assert not User.objects.exists()
    assert client.get("/admin/").status_code == 302


@pytest.mark.parametrize(
    ("times", "status"),
    [
        ({"exp": -45}, 302),
        ({"exp": -90}, 403),
        ({"iat": 45}, 302),
        ({"iat": 90}, 403),
        ({"nbf": 45}, 302),
        ({"nbf": 90}, 403),
    ],
)
def test_clocks_may_differ_by_a_minute(client: Client, provider: Provider, times: dict[str, int], status: int) -> None:
    provider.claims |= {name: int(time.time()) + seconds for name, seconds in times.items()}
    assert provider.come_back(client).status_code == status


def test_several_audiences_that_name_this_party_are_fine(client: Client, provider: Provider) -> None:
    provider.claims |= {"aud": ["another-service", CLIENT_ID], "azp": CLIENT_ID}
    assert provider.come_back(client).status_code == 302


def _unsigned(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, None, algorithm="none")


def _signed_with_the_public_key(claims: dict[str, Any]) -> str:
    """Sign with what everybody knows, as if it were a shared secret."""
    header, payload, _ = jwt.encode(claims, "x" * 64, algorithm="HS256", headers={"kid": "first"}).split(".")
    return f"{header}.{payload}.{urlsafe_b64encode(b'x' * 32).decode().rstrip('=')}"


def _signed_with_the_secret(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, "only-for-tests: of the client", algorithm="HS256", headers={"kid": "first"})


def _signed_by_another(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, make_key("second"), algorithm="RS256", headers={"kid": "first"})


def _of_an_unknown_key(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, make_key("second"), algorithm="RS256", headers={"kid": "unknown"})


FORGED = [_unsigned, _signed_with_the_public_key, _signed_with_the_secret, _signed_by_another, _of_an_unknown_key]


@pytest.mark.parametrize("forge", FORGED, ids=lambda forge: forge.__name__.strip("_"))
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_forged_tokens_are_refused(client: Client, provider: Provider, forge: Any) -> None:
    state = provider.begin(client)["state"]
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": CLIENT_ID, "sub": "ada", "iat": now, "exp": now + 300, "nonce": provider.nonce}
    provider.id_token = forge({**claims, "groups": ["chat-support"]})
    assert client.get("/admin/oidc/callback/", {"code": "a", "state": state}).status_code == 403
    assert not User.objects.exists()


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "." * 100, "x" * 100_000])
def test_what_is_no_token_is_refused(client: Client, provider: Provider, token: str) -> None:
    provider.id_token = token
    assert provider.come_back(client).status_code == 403


def test_a_token_that_is_too_long_is_not_read(client: Client, provider: Provider) -> None:
    provider.claims["padding"] = "x" * 70_000
    assert provider.come_back(client).status_code == 403


def test_of_several_keys_the_named_one_counts(client: Client, provider: Provider) -> None:
    provider.keys = [public_key("second"), public_key("first")]
    assert provider.come_back(client).status_code == 302


def test_a_new_key_of_the_provider_is_fetched(client: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conversations.sign_in.provider.FRESH_KEYS_S", 0.0)
    assert provider.come_back(Client()).status_code == 302
    provider.keys, provider.signing_key = [public_key("second")], "second"
    assert provider.come_back(client).status_code == 302
    assert provider.paths().count("/keys") == 2


def test_invented_keys_cause_no_calls(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    # However slow the machine is.
    monkeypatch.setattr("conversations.sign_in.provider.FRESH_KEYS_S", 3600.0)
    provider.come_back(Client())
    provider.signing_key = "second"
    for _ in range(5):
        assert provider.come_back(Client()).status_code == 403
    assert provider.paths().count("/keys") == 1


@pytest.mark.parametrize("odd", [{"use": "enc"}, {"kty": "oct", "k": "eHg"}, {"alg": "RS512"}, {"kty": "unknown"}, {"n": "!"}])
def test_keys_for_something_else_are_not_used(client: Client, provider: Provider, odd: dict[str, str]) -> None:
    provider.keys = [{**provider.keys[0], **odd}]
    assert provider.come_back(client).status_code == 403


@pytest.mark.parametrize(("keys", "status"), [(["first"], 302), (["first", "second"], 403), (["second"], 403)])
def test_a_token_that_names_no_key_needs_the_only_one(client: Client, provider: Provider, keys: list[str], status: int) -> None:
    provider.names_key = False
    provider.keys = [public_key(name) for name in keys]
    assert provider.come_back(client).status_code == status


@pytest.mark.parametrize("odd", [{"kty": "unknown"}, {"n": "!"}, {"n": 7}, {"e": "AA"}, {"kty": None}])
@pytest.mark.parametrize("names_key", [True, False])
def test_a_malformed_key_leaves_the_others(client: Client, provider: Provider, odd: dict[str, Any], *, names_key: bool) -> None:
    provider.names_key = names_key
    provider.keys = [{**public_key("first"), **odd}, public_key("first")]
    assert provider.come_back(client).status_code == 302
