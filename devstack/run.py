"""Run the service with everything it needs beside it: `python -m devstack.run`.

Principle: no process stays behind. Ctrl-C, SIGTERM or the end of any part stops all parts in order, the service first and
PostgreSQL last. If this process is killed, the watcher kills its children. Signal handlers only count; every wait checks the
count, so a part that is still starting is stopped too.
"""

import argparse
import fcntl
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from devstack import language_model
from devstack.folder import PROJECT, FolderProblem, Keys, devstack_folder, keys_in
from devstack.postgres import PostgresProblem, PostgresServer
from devstack.processes import Part, free_port, last_lines, listener_on, port_is_free
from devstack.service_log import LogFollower, for_terminal
from devstack.token import ORDINARY_USER, TokenIssuer
from devstack.watcher import kill_children_at_the_end
from devstack.welcome import STAFF_LOGIN, STAFF_PASSWORD, Welcome

DATABASE = "samosachaat"
READY_TIMEOUT_S = 90
# gunicorn.conf.py gives open replies 30 s.
SERVICE_GRACE_S = 40


class StopRequested(Exception):
    """A signal asked the stack to stop."""


class PartFailed(Exception):
    """A part did not start, or it ended by itself. The text is for the terminal."""


def say(line: str, *, end: str = "\n") -> None:
    with suppress(OSError):  # the terminal is closed; its SIGHUP follows
        print(line, end=end, flush=True)


class Stack:
    """The running parts, in the order of their start."""

    def __init__(self, folder: Path, *, show_all_logs: bool) -> None:
        self._folder = folder
        self._show_all_logs = show_all_logs
        self._keys: Keys = keys_in(folder)
        self._parts: list[Part] = []
        self._postgres: PostgresServer | None = None
        self._signals = 0
        self._logs = folder / "logs"
        self._logs.mkdir(exist_ok=True)
        self._port = chosen_port()
        host = os.environ.get("BIND", "127.0.0.1")
        self._url = f"http://{'127.0.0.1' if host in ('', '0.0.0.0') else host}:{self._port}"
        # The user's own variables win. The staff password is public, so the service listens on 127.0.0.1 by default.
        self._environment = {
            "BIND": "127.0.0.1",
            # This machine uses plain HTTP.
            "INSECURE_COOKIES": "true",
            "TRY_PAGE": "true",
            "SECRET_KEY": self._keys.django_secret_key,
            "INTERNAL_API_KEY": self._keys.internal_api_key,
            "DJANGO_SETTINGS_MODULE": "chatapi.settings",
            "PYTHONUNBUFFERED": "1",
            **os.environ,
            "PORT": str(self._port),
        }

    def note_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def run(self) -> NoReturn:
        """Start all parts and watch them. Raises StopRequested or PartFailed."""
        self._start_postgres()
        self._start_auth_service()
        model = self._start_model()
        with self._progress("Database tables"):
            self._finish_command("migrate", ["migrate", "--noinput"])
            self._make_staff_user()
        service_log = self._start_service()
        say(self._welcome(model, service_log).text())
        follower = LogFollower(service_log)
        follower.new_lines()
        while True:
            self._wait_a_moment()
            for line in follower.new_lines():
                if shown := for_terminal(line, everything=self._show_all_logs):
                    say(shown)

    def stop(self) -> None:
        """Stop all parts in the reverse order of their start. A further signal kills the remaining parts."""
        signals_before = self._signals
        for part in reversed(self._parts):
            say(f"Stopping the {part.name} …")
            part.stop(in_a_hurry=lambda: self._signals > signals_before)
        if self._postgres:
            say("Stopping PostgreSQL …")
            self._postgres.stop()
        say("Stopped.")

    # --- the parts ---

    def _start_postgres(self) -> None:
        if "DATABASE_URL" in os.environ:
            say("PostgreSQL … uses your DATABASE_URL")
            return
        with self._progress("PostgreSQL"):
            server = PostgresServer(self._folder / "postgres", max_connections="200")
            server.start()
            self._postgres = server
            server.create_database(DATABASE)
            self._environment["DATABASE_URL"] = server.url(DATABASE)

    def _start_auth_service(self) -> None:
        if "AUTH_SERVICE_URL" in os.environ:
            say(f"Auth service … uses yours at {os.environ['AUTH_SERVICE_URL']}")
            return
        self._environment["AUTH_SERVICE_URL"] = self._start_stand_in("auth service", "devstack.auth_service")

    def _start_model(self) -> str:
        """Start the language model, or the echo model if it is not installed. Return its name for the terminal."""
        if "INFERENCE_SERVICE_URL" in os.environ:
            say(f"Model … uses yours at {os.environ['INFERENCE_SERVICE_URL']}")
            return "your model"
        # A small model may not find its end, and a CPU is slow.
        self._environment.setdefault("INFERENCE_DEFAULT_MAX_TOKENS", "300")
        wants_nanochat = os.environ.get("INFERENCE_PROTOCOL") == "nanochat"
        if language_model.weights() and not wants_nanochat:
            self._environment["INFERENCE_PROTOCOL"] = "openai"
            module, name = "devstack.language_model", language_model.MODEL_NAME
        else:
            if not wants_nanochat:
                say("The small language model (requirements-model.txt) is not installed. A model that echoes replaces it.")
            self._environment["INFERENCE_PROTOCOL"] = "nanochat"
            module, name = "devstack.echo_model", "a model that echoes"
        self._environment["INFERENCE_SERVICE_URL"] = self._start_stand_in("model", module)
        return name

    def _start_stand_in(self, name: str, module: str) -> str:
        """Start one of the stand-in services on a free port. Return its address as soon as it answers."""
        port = free_port()
        with self._progress(name.capitalize()):
            log = self._start_part(name, [sys.executable, "-m", module, "--port", str(port)])
            self._wait_until_ok(name, f"http://127.0.0.1:{port}/health", log)
        return f"http://127.0.0.1:{port}"

    def _start_service(self) -> Path:
        with self._progress("Service"):
            command = [sys.executable, "-m", "gunicorn", "chatapi.wsgi"]
            log = self._start_part("service", command, grace_s=SERVICE_GRACE_S)
            self._wait_until_ok("service", f"{self._url}/api/ready", log)
        return log

    def _start_part(self, name: str, command: list[str], *, grace_s: float = 5) -> Path:
        log = self._logs / f"{name.replace(' ', '-')}.log"
        part = Part(name, command, self._environment, log, grace_s)
        self._parts.append(part)
        part.start(PROJECT)
        return log

    def _make_staff_user(self) -> None:
        if self._postgres is None:
            return  # no public password in the user's own database
        login = {"DJANGO_SUPERUSER_USERNAME": STAFF_LOGIN, "DJANGO_SUPERUSER_PASSWORD": STAFF_PASSWORD}
        try:
            self._finish_command(
                "staff-user", ["createsuperuser", "--noinput", "--email", "admin@example.org"], environment=login
            )
        except PartFailed as failure:
            if "already taken" not in str(failure):
                raise

    def _welcome(self, model: str, service_log: Path) -> Welcome:
        ours = "AUTH_SERVICE_URL" not in os.environ
        token = TokenIssuer(self._keys.token_signing_key).mint(ORDINARY_USER) if ours else None
        python = Path(sys.executable)
        shown = python.relative_to(PROJECT) if python.is_relative_to(PROJECT) else python
        return Welcome(self._url, token, self._postgres is not None, model, service_log, str(shown))

    # --- waiting ---

    @contextmanager
    def _progress(self, what: str) -> Iterator[None]:
        started = time.monotonic()
        say(f"{what} … ", end="")
        yield
        say(f"ready in {time.monotonic() - started:.1f} s")

    def _wait_a_moment(self) -> None:
        """Sleep briefly, then check for signals and for parts that have ended."""
        if not self._signals:
            time.sleep(0.1)
        if self._signals:
            raise StopRequested
        for part in self._parts:
            code = part.exit_code()
            if code is not None:
                raise PartFailed(report(f"The {part.name} ended by itself ({how_it_ended(code)})", part.log))
        if self._postgres and not self._postgres.is_running():
            raise PartFailed(report("PostgreSQL ended by itself", self._postgres.log))

    def _wait_until_ok(self, name: str, url: str, log: Path) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        answer = "no answer"
        while time.monotonic() < deadline:
            self._wait_a_moment()
            try:
                with urllib.request.urlopen(url, timeout=5) as response:
                    if response.status == 200:
                        return
            except urllib.error.HTTPError as error:
                with error:
                    answer = f"{error.code} {error.read(500).decode(errors='replace')}"
            except OSError:
                pass
        raise PartFailed(report(f"The {name} was not ready within {READY_TIMEOUT_S} s ({url}: {answer})", log))

    def _finish_command(self, name: str, arguments: list[str], environment: dict[str, str] | None = None) -> None:
        """Run a management command and wait for its end."""
        log = self._logs / f"{name}.log"
        command = Part(name, [sys.executable, "manage.py", *arguments], {**self._environment, **(environment or {})}, log)
        command.start(PROJECT)
        try:
            while (code := command.exit_code()) is None:
                self._wait_a_moment()
        finally:
            command.stop(in_a_hurry=lambda: False)
        if code != 0:
            raise PartFailed(report(f"`manage.py {arguments[0]}` failed ({how_it_ended(code)})", log))


def report(what: str, log: Path) -> str:
    return "\n".join([f"{what}. Last lines of {log}:", *(f"  {line}" for line in last_lines(log))])


def how_it_ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def chosen_port() -> int:
    port = os.environ.get("PORT") or "8002"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise PartFailed(f"PORT={port} is not a port. Choose a number from 1 to 65535, for example `make run PORT=8003`.")
    return int(port)


def claim_folder(folder: Path) -> TextIO:
    """Lock the folder, so that its stack runs only once. The lock ends with this process."""
    lock = (folder / "run.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise PartFailed(f"The stack is already running: {lock.read()}. Stop it first.") from None
    lock.truncate(0)
    return lock


def check_port(port: int) -> None:
    if not port_is_free(os.environ.get("BIND", "127.0.0.1"), port):
        owner = listener_on(port)
        by = f" by {owner}" if owner else ""
        raise PartFailed(f"Port {port} is in use{by}. Choose another: `make run PORT={port + 1}`.")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m devstack.run", description="Run the service and everything it needs.")
    parser.add_argument("--logs", action="store_true", help="print every line of the service's log, not only warnings")
    arguments = parser.parse_args()
    try:
        folder = devstack_folder()
        lock = claim_folder(folder)
        check_port(chosen_port())
        print(f"process {os.getpid()}, port {chosen_port()}", end="", file=lock, flush=True)
        kill_children_at_the_end()  # before the stack takes its environment from this one
        stack = Stack(folder, show_all_logs=arguments.logs)
    except (PartFailed, FolderProblem) as problem:
        say(str(problem))
        return 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stack.note_signal)
    try:
        stack.run()
    except StopRequested:
        say("")
        return 0
    except (PartFailed, PostgresProblem) as problem:
        say(f"\n{problem}\n")
        return 1
    finally:
        stack.stop()


if __name__ == "__main__":
    sys.exit(main())
