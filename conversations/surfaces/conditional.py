"""ETags: reading what has not changed is a 304, and changing what has changed in the meantime is a 412.

The tag of a conversation has two parts, `"state.body"`: its state is what a change is compared with, so that a tag of any of
its responses will do. Other tags are of the whole body.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, cast

from django.db import transaction
from django.utils.cache import get_conditional_response
from django.utils.http import parse_etags
from rest_framework.request import Request
from xxhash import xxh3_64_hexdigest

from chatapi.api.wire import Response, write_json
from conversations.exceptions import PreconditionFailed

View = Callable[..., Response]


def tagged(view: View) -> View:
    """Let a view method that reads answer with an ETag, or with a 304 where the client has the same already."""

    @wraps(view)
    def read(self: Any, request: Request, *arguments: Any, **options: Any) -> Response:
        response = view(self, request, *arguments, **options)
        state, tag = response.headers.get("ETag", "").strip('"'), xxh3_64_hexdigest(response.content)
        response["ETag"] = quoted(f"{state}.{tag}" if state else tag)
        if "If-None-Match" not in request.headers:
            return response
        return cast(Response, get_conditional_response(request._request, response["ETag"], response=response))

    return read


def quoted(tag: str) -> str:
    return f'"{tag}"'


def tag_of(shown: Any) -> str:
    """Return the tag of something that can be written as JSON."""
    return xxh3_64_hexdigest(write_json(shown))


@contextmanager
def only_if_unchanged(request: Request, read_state: Callable[[], str]) -> Iterator[None]:
    """Hold the body of this block in one transaction with the check of If-Match, if there is one.

    `read_state` locks what is changed, and returns its tag. Raises `PreconditionFailed`.
    """
    if "If-Match" not in request.headers:
        yield
        return
    with transaction.atomic():
        require_match(request, read_state)
        yield


def require_match(request: Request, read_state: Callable[[], str]) -> None:
    """Raise `PreconditionFailed` if the request has an If-Match that does not name this state."""
    if "If-Match" not in request.headers:
        return
    state = read_state()
    # A proxy that compresses a response weakens its tag.
    given = [tag.removeprefix("W/").strip('"').split(".")[0] for tag in parse_etags(request.headers["If-Match"])]
    if "*" not in given and state not in given:
        raise PreconditionFailed
