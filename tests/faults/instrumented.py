"""The service as it is, with points at which it asks the runner before it goes on, and a window into its state.

`gunicorn tests.faults.instrumented`. The points sit around the steps of a turn that only the worker knows; what they wrap is
untouched, unless FAULTS_DEFECT names one of the defects of `defects.py`. The window tells what no response does: threads,
generations and the database pools.
"""

import contextlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatapi.settings")

import django

django.setup()

from django.db import connection  # noqa: E402  # needs the settings

from .changes import around  # noqa: E402
from .defects import DEFECTS  # noqa: E402
from .product import DatabaseReplyStore, LiveReplies, Transcript, begin, live_replies  # noqa: E402

FOLDER = Path(os.environ["FAULTS_FOLDER"])
WINDOW_PAUSE_S = 0.05
# Those of the process, of the service as a whole, and of the database pools.
LASTING_THREADS = re.compile(
    "MainThread|(reply|queue|webhook)-keeper|worker-(lease|warden)|refused-requests|deadlines|rest-timer|window|pool-"
)


def use_memory() -> None:
    """Fail once for lack of memory, if the runner asks for it."""
    wanted = FOLDER / f"memory-{os.getpid()}"
    if wanted.exists():
        with contextlib.suppress(FileNotFoundError):
            wanted.unlink()
            raise MemoryError


def append(original: Callable[..., Any], transcript: Transcript, payload: bytes, text: str) -> Any:
    use_memory()
    return original(transcript, payload, text)


def reach(point: str, subject: str) -> None:
    """Tell the runner that this step of this turn is reached, and wait for its word."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as control:
        control.connect(str(FOLDER / "control"))
        control.sendall(json.dumps({"point": point, "subject": subject, "pid": os.getpid()}).encode() + b"\n")
        control.recv(1)


def send_turn(original: Callable[..., Any], **arguments: Any) -> Any:
    reach("insert", arguments["content"])
    return original(**arguments)


def start(original: Callable[..., Any], live: LiveReplies, reply_id: Any, request: Any, **named: Any) -> Any:
    reach("start", f"{reply_id} {request.messages[-1]['content']}")
    return original(live, reply_id, request, **named)


def checkpoint(original: Callable[..., Any], store: DatabaseReplyStore, drafts: Any) -> Any:
    reach("checkpoint", " ".join(str(draft.reply_id) for draft in drafts))
    use_memory()
    return original(store, drafts)


def finish(original: Callable[..., Any], store: DatabaseReplyStore, reply: Any) -> Any:
    reach("commit", str(reply.reply_id))
    use_memory()
    status = original(store, reply)
    reach("done", str(reply.reply_id))
    return status


# A defect is part of the service, so the points go around it.
if defect := os.environ.get("FAULTS_DEFECT"):
    DEFECTS[defect].switch_on()

for owner, replacement in (
    (begin, send_turn),
    (LiveReplies, start),
    (DatabaseReplyStore, checkpoint),
    (DatabaseReplyStore, finish),
    (Transcript, append),
):
    around(owner, replacement.__name__, replacement).make()


def _state() -> dict[str, Any]:
    every = [pool.get_stats() for pool in connection._connection_pools.values()]
    return {
        "replies": len(live_replies.running()),
        "threads": [thread.name for thread in threading.enumerate() if not LASTING_THREADS.match(thread.name)],
        "pools": [(stats["pool_size"], stats["pool_available"]) for stats in every],
        "connections": sum(stats["pool_size"] for stats in every),
        "connections_free": sum(stats["pool_available"] for stats in every),
        "connections_wanted": sum(stats.get("requests_waiting", 0) for stats in every),
    }


def _show_state(window: socket.socket) -> None:
    while True:
        try:
            visitor, _ = window.accept()
            with visitor:
                visitor.sendall(json.dumps(_state()).encode())
        except OSError:
            # The visitor left, or this process may open no more files.
            time.sleep(WINDOW_PAUSE_S)


def _open_window() -> None:
    window = socket.socket(socket.AF_UNIX)
    window.bind(str(FOLDER / str(os.getpid())))
    window.listen()
    threading.Thread(target=_show_state, args=(window,), name="window", daemon=True).start()


_open_window()

from chatapi.wsgi import application  # noqa: E402, F401  # what gunicorn serves
