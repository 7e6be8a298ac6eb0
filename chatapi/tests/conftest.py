"""Fixtures for the tests of this package."""

from chatapi.tests.fixtures import (
    _empty_cache,
    admin,
    anonymous,
    auth_service,
    new_user,
    outbound,
    stranger,
    user,
)

__all__ = ["_empty_cache", "admin", "anonymous", "auth_service", "new_user", "outbound", "stranger", "user"]
