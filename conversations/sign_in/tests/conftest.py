"""Single sign-on, set up with a scripted provider."""

from collections.abc import Iterator
from typing import Any

import pytest
import responses
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.test import Client

from chatapi.environment import Rate
from conversations.admin.tests.factories import make_groups, make_staff
from conversations.sign_in.methods import SINGLE_SIGN_ON_BACKEND
from conversations.sign_in.provider import forget_provider

from .scripted_provider import CLIENT_ID, GROUPS, ISSUER, Provider

DAY_S = 86_400


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords in a thousandth of the time that it should take."""
    monkeypatch.setattr(PBKDF2PasswordHasher, "iterations", 1000)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    forget_provider()
    yield
    forget_provider()


@pytest.fixture
def single_sign_on(db: None, settings: Any) -> Any:
    """Set up single sign-on. Tests may change the settings."""
    make_groups()
    settings.ADMIN_OIDC_ISSUER = ISSUER
    settings.ADMIN_OIDC_CLIENT_ID = CLIENT_ID
    settings.ADMIN_OIDC_CLIENT_SECRET = "only-for-tests: of the client"
    settings.ADMIN_OIDC_GROUPS = GROUPS
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", SINGLE_SIGN_ON_BACKEND]
    # So many that only tests of limits meet them.
    settings.THROTTLE_LOGIN = Rate(1000, DAY_S)
    return settings


@pytest.fixture
def provider(single_sign_on: Any, outbound: responses.RequestsMock) -> Provider:
    return Provider(outbound)


@pytest.fixture
def superuser(db: None) -> Client:
    client = Client()
    client.force_login(make_staff("root", superuser=True))
    return client
