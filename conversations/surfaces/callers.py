"""The user who sent a request, as our authentication sets it."""

from typing import cast
from uuid import UUID

from rest_framework.request import Request

from chatapi.auth.caller import Caller


def caller_id(request: Request) -> UUID:
    """Return the id of the user who sent a request, where a token is required."""
    return cast(Caller, request.user).id


def optional_caller_id(request: Request) -> UUID | None:
    """Return the id of the user who sent a request. None if the caller is anonymous."""
    return caller_id(request) if request.user else None
