"""Fixtures for the tests of the surfaces.

`user`, `stranger`, `admin` and `anonymous` call the views in this process. `client`, `other_client` and `anonymous_client`
call a real server, which has a database of its own.
"""

from tests.conftest import auth, client, conversation, upstream
from tests.surfaces.conftest import MakeAssistant, anonymous_client, database, make_assistant, other_client, service

__all__ = [
    "MakeAssistant",
    "anonymous_client",
    "auth",
    "client",
    "conversation",
    "database",
    "make_assistant",
    "other_client",
    "service",
    "upstream",
]
