"""Staff of each kind, signed in."""

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client

from .factories import make_staff


def _signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def support(db) -> Client:
    return _signed_in(make_staff("sue", "support"))


@pytest.fixture
def operator(db) -> Client:
    return _signed_in(make_staff("olga", "operators"))


@pytest.fixture
def superuser(db) -> Client:
    return _signed_in(make_staff("root", superuser=True))


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords in a thousandth of the time that it should take."""
    monkeypatch.setattr(PBKDF2PasswordHasher, "iterations", 1000)


@pytest.fixture(autouse=True)
def empty_cache():
    """Today's figures are remembered for a minute."""
    cache.clear()
