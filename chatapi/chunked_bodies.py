"""Request bodies that come in chunks, without a length.

Django takes a body without a Content-Length for empty, so a conversation's title, or a whole message, would vanish without
a word. The server has undone the chunks already; what is missing is the length, and a limit.
"""

import io
from collections.abc import Callable, Iterable
from typing import Any

WSGIApplication = Callable[[dict[str, Any], Any], Iterable[bytes]]


class ChunkedBodies:
    """Give chunked bodies a length. One over the limit keeps one byte more than that, enough to be refused for it."""

    def __init__(self, application: WSGIApplication, limit: int) -> None:
        self._application = application
        self._limit = limit

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower() and not environ.get("CONTENT_LENGTH"):
            body = environ["wsgi.input"].read(self._limit + 1)
            environ["wsgi.input"] = io.BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
        return self._application(environ, start_response)
