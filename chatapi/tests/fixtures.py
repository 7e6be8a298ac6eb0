"""What tests inside the packages share. A package's conftest.py imports these."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import responses
from django.core.cache import cache

from chatapi.tests.auth_service import AuthService
from chatapi.tests.clients import UserClient
from inference_proxy.upstream.model_list import model_list


@pytest.fixture(autouse=True)
def outbound() -> Iterator[responses.RequestsMock]:
    """Let nothing out but what a test scripts; servers that it runs on this machine stay reachable."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as scripted:
        scripted.add_passthru("http://127.0.0.1")
        scripted.add_passthru("https://127.0.0.1")
        yield scripted


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    """Forget tokens, request counts and the list of models between tests."""
    cache.clear()
    model_list.clear()
    yield
    cache.clear()
    model_list.clear()


@pytest.fixture
def auth_service(outbound: responses.RequestsMock) -> AuthService:
    return AuthService(outbound)


@pytest.fixture
def new_user(db: None, auth_service: AuthService) -> Callable[..., UserClient]:
    """Make clients of new users, whom the auth service describes as the test says."""

    def make(**about: Any) -> UserClient:
        return UserClient(*auth_service.admit(**about))

    return make


@pytest.fixture
def user(new_user: Callable[..., UserClient]) -> UserClient:
    return new_user()


@pytest.fixture
def stranger(new_user: Callable[..., UserClient]) -> UserClient:
    """Another user."""
    return new_user()


@pytest.fixture
def admin(new_user: Callable[..., UserClient]) -> UserClient:
    return new_user(is_admin=True)


@pytest.fixture
def anonymous(db: None, auth_service: AuthService) -> UserClient:
    """A client without a token."""
    return UserClient("")
