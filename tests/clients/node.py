"""Scripts that use a client library, in Node or in an environment of Python of its own, told step by step by a test.

The test writes one JSON object per line to the script, and the script answers each with one line. So the test decides when the
inference service continues, and checks everything itself.
"""

import json
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
# Below, `fetch` and web streams are missing or experimental.
LEAST_VERSION = 20
RESPONSE_LIMIT_S = 30.0
END_LIMIT_S = 10.0


def why_missing() -> str | None:
    """Return why tests with Node packages can't run here, or None if they can."""
    if reason := why_node_is_missing():
        return reason
    if not (FOLDER / "node_modules").is_dir():
        return "the Node packages are not installed (npm ci --prefix tests/clients)"
    return None


def why_node_is_missing() -> str | None:
    """Return why Node scripts can't run here, or None if they can."""
    node = shutil.which("node")
    if node is None:
        return "node is not installed"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < LEAST_VERSION:
        return f"node {LEAST_VERSION} or newer is needed; this is {version}"
    return None


def why_environment_is_missing(name: str) -> str | None:
    """Return why scripts can't run in an environment of `make clients`, or None if they can."""
    return None if python_of(name).exists() else "the Python clients of others are not installed (make clients)"


def python_of(environment: str) -> Path:
    return FOLDER.parent.parent / ".venv-clients" / environment / "bin" / "python"


class NodeScript:
    """A running script of this folder. A context manager that ends it."""

    def __init__(self, name: str, *arguments: str) -> None:
        self._start("node", str(FOLDER / name), *arguments)

    def _start(self, *command: str) -> None:
        self._process = subprocess.Popen(command, cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._unread = b""
        self._unanswered = 0

    @property
    def has_answered(self) -> bool:
        """Whether every command has its answer."""
        return self._unanswered == 0

    def __enter__(self) -> "NodeScript":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self._process.kill()
        # Closes the pipes too.
        self._process.communicate(timeout=END_LIMIT_S)

    def ask(self, **command: Any) -> Any:
        """Send a command and return its answer."""
        self.tell(**command)
        return self.answer()

    def tell(self, **command: Any) -> None:
        """Send a command. Its answer comes later."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        self._unanswered += 1

    def answer(self, limit_s: float = RESPONSE_LIMIT_S) -> Any:
        """Wait for the script's next line."""
        assert self._process.stdout
        give_up_at = time.monotonic() + limit_s
        while b"\n" not in self._unread:
            readable, _, _ = select.select([self._process.stdout], [], [], max(0.0, give_up_at - time.monotonic()))
            assert readable, f"the script did not answer within {limit_s} s"
            piece = self._process.stdout.read1(65536)
            assert piece, f"the script ended: {self._process.wait(END_LIMIT_S)}"
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        self._unanswered -= 1
        return json.loads(line)


class PythonScript(NodeScript):
    """A script of the folder `python`, in an environment with the packages that it needs."""

    def __init__(self, environment: str, name: str) -> None:
        self._start(str(python_of(environment)), str(FOLDER / "python" / name))
