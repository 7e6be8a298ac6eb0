"""Fixtures for the tests of this package."""

from chatapi.tests.fixtures import _empty_cache, outbound

__all__ = ["_empty_cache", "outbound"]
