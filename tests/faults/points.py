"""Where workers ask before they go on: the runner's end of `tests.faults.instrumented`."""

import contextlib
import json
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path

# The steps of a turn, in their order. The inference service's script reaches the two in the middle, workers the others.
POINTS = {
    "insert": "before the insert",
    "start": "between insert and generation",
    "first": "before the first token",
    "middle": "in mid-reply",
    "checkpoint": "between a checkpoint's text and its statement",
    "commit": "between the last token and the commit",
    "done": "between commit and done",
}


class Control:
    """Listen to workers; `on_point(point, subject, pid)` runs while the worker waits."""

    def __init__(self, folder: Path, on_point: Callable[[str, str, int], None]) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                line = self.rfile.readline()
                if line:
                    said = json.loads(line)
                    on_point(said["point"], said["subject"], said["pid"])
                    # Where the worker is gone, that was the fault.
                    with contextlib.suppress(OSError):
                        self.wfile.write(b"!")

        self._server = socketserver.ThreadingUnixStreamServer(str(folder / "control"), Handler)
        self._server.daemon_threads = True
        self._server.request_queue_size = 64

    def __enter__(self) -> "Control":
        (threading.Thread(target=self._server.serve_forever, args=(0.05,), name="control", daemon=True)).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
