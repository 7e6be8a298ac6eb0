"""Commands from the test: one JSON object per line on standard input, one answer per line on standard output."""

import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any


def serve(**handlers: Callable[..., Any]) -> None:
    """Call the handler that the command's `do` names, and print what it returns. An exception is an answer too."""
    answers = sys.stdout
    for line in sys.stdin:
        command = json.loads(line)
        try:
            # Some libraries print what they do.
            with contextlib.redirect_stdout(sys.stderr):
                answer = handlers[command.pop("do")](**command)
        except Exception as problem:
            answer = {"thrown": f"{type(problem).__name__}: {problem}"}
        print(json.dumps(answer), file=answers, flush=True)
