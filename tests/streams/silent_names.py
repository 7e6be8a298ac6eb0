"""The service, where the resolver never answers for names that end in `.silent`: `gunicorn tests.streams.silent_names`."""

import _socket
from typing import Any

from gevent.monkey import get_original

# What gevent calls in its threads.
_look_up = _socket.getaddrinfo
_never = get_original("threading", "Event")()


def _look_up_or_wait(host: Any, *rest: Any) -> Any:
    if str(host).endswith(".silent"):
        _never.wait()
    return _look_up(host, *rest)


_socket.getaddrinfo = _look_up_or_wait

from chatapi.wsgi import application  # noqa: E402, F401  # what gunicorn serves
