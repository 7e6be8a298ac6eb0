"""The real service: gunicorn with its gevent worker as a subprocess."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from devstack.folder import PROJECT
from devstack.processes import free_port

from .waiting import wait_until

START_LIMIT_S = 60.0
# Less than gunicorn's graceful time, after which it kills its workers.
STOP_LIMIT_S = 29.0
INTERNAL_API_KEY = "an-internal-key-for-the-stream-tests"
DEFAULTS = {
    "SECRET_KEY": "a-secret-for-the-stream-tests-that-is-long-enough-to-pass",
    "INTERNAL_API_KEY": INTERNAL_API_KEY,
    "BIND": "127.0.0.1",
    "LOG_LEVEL": "INFO",
    "USER_MAX_GENERATIONS": "0",
    "USER_MAX_STREAMS": "0",
    "USER_MAX_CHANGE_STREAMS": "0",
    "THROTTLE_SEND": "",
    "THROTTLE_READ": "",
    "THROTTLE_ADDRESS": "",
    "THROTTLE_PROBE": "",
    "THROTTLE_REJECTED_TOKENS": "",
}


class Server:
    """The service. A context manager that starts it and checks that it stops by itself."""

    def __init__(
        self,
        *,
        database_url: str,
        auth_url: str,
        upstream_url: str,
        application: str = "chatapi.wsgi",
        arguments: tuple[str, ...] = (),
        folder: Path = PROJECT,
        **settings: str,
    ) -> None:
        self.port = int(settings.get("PORT") or free_port())
        self._code = folder
        self._command = [sys.executable, "-m", "gunicorn", *arguments, application]
        self._environment = {
            **os.environ,
            **DEFAULTS,
            "DATABASE_URL": database_url,
            "AUTH_SERVICE_URL": auth_url,
            "INFERENCE_SERVICE_URL": upstream_url,
            "PORT": str(self.port),
            **settings,
        }
        self._folder = tempfile.TemporaryDirectory(prefix="chat-api-test-")
        self._stdout = Path(self._folder.name, "stdout")
        self._stderr = Path(self._folder.name, "stderr")
        self._last_log = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._stop_by: float | None = None

    @property
    def log(self) -> str:
        """Its standard output so far."""
        return self._stdout.read_text() if self._stdout.exists() else self._last_log

    def workers(self) -> list[int]:
        """List the process ids of its workers."""
        assert self._process
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def log_lines(self) -> list[dict[str, Any]]:
        """Parse the log. Fail if a line is not a JSON object."""
        return [json.loads(line) for line in self.log.splitlines()]

    def __enter__(self) -> "Server":
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._code,
                env=self._environment,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,  # so that `kill` reaches the workers
            )
        try:
            wait_until(self._is_ready_or_dead, "the server is ready", START_LIMIT_S)
            assert self._process.poll() is None, "the server ended while it was starting"
        except AssertionError as failure:
            failure.add_note(self._everything_said())
            self.kill()
            self._folder.cleanup()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def terminate(self) -> None:
        """Send SIGTERM once, as orchestrators do."""
        assert self._process
        if self._stop_by is None:
            self._stop_by = time.monotonic() + STOP_LIMIT_S
            self._process.terminate()

    def press_ctrl_c(self) -> None:
        """Send SIGINT to it and its workers, as a terminal does."""
        assert self._process
        os.killpg(self._process.pid, signal.SIGINT)

    def kill_master(self) -> None:
        """Kill gunicorn's master process alone, as the kernel does when memory is short."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def stop(self) -> float:
        """Send SIGTERM, check that it ends by itself and in time, and return how many seconds that took."""
        self.terminate()
        assert self._process
        assert self._stop_by
        try:
            status = self._process.wait(max(0.1, self._stop_by - time.monotonic()))
            # A test may have killed the server before.
            assert status in (0, -signal.SIGKILL), f"the server ended with status {status}\n{self._everything_said()}"
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server still runs {STOP_LIMIT_S} s after SIGTERM\n{self._everything_said()}") from None
        finally:
            self.kill()
            self._last_log = self.log
            self._folder.cleanup()
        return time.monotonic() - (self._stop_by - STOP_LIMIT_S)

    def kill(self) -> None:
        """Kill it and its workers, as a power cut would."""
        assert self._process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def reload(self) -> None:
        """Send SIGHUP once: new workers replace the old ones."""
        assert self._process
        self._process.send_signal(signal.SIGHUP)

    def wait_reloaded(self) -> list[int]:
        """Wait until gunicorn has acted on every signal that it got. Return the workers that have come, oldest first.

        It acts on one after the other, and for each SIGHUP waits until the new workers are ready.
        """
        assert self._process
        acted = self.log.count("Handling signal: winch")
        # It does nothing on this one but say so.
        self._process.send_signal(signal.SIGWINCH)
        wait_until(lambda: self.log.count("Handling signal: winch") > acted, "gunicorn has acted on its signals", START_LIMIT_S)
        said = (line["message"] for line in self.log_lines())
        return [int(words.rsplit(" ", 1)[1]) for words in said if words.startswith("Booting worker with pid: ")]

    def freeze(self) -> None:
        """Stop all its processes with SIGSTOP. Its kernel still accepts connections."""
        assert self._process
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let its processes go on."""
        assert self._process
        os.killpg(self._process.pid, signal.SIGCONT)

    def _is_ready_or_dead(self) -> bool:
        assert self._process
        if self._process.poll() is not None:
            return True
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/api/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _everything_said(self) -> str:
        said = [file.read_text(errors="replace")[-6000:] for file in (self._stdout, self._stderr)]
        return "--- its standard output:\n{}\n--- its standard error:\n{}".format(*said)
