"""Views that may read from a replica."""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from rest_framework.request import Request

from chatapi.api.wire import Response
from conversations.services.replica_reads import read_for_user
from conversations.surfaces.callers import caller_id

View = Callable[..., Response]


def from_replica(view: View) -> View:
    """Let a view method that only reads use the replica. It may run twice, so it must build its whole answer."""

    @wraps(view)
    def read(self: Any, request: Request, *arguments: Any, **options: Any) -> Response:
        return read_for_user(caller_id(request), partial(view, self, request, *arguments, **options))

    return read
