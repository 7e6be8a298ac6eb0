"""The private PostgreSQL server, with real servers in temporary folders."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devstack.folder import PROJECT
from devstack.postgres import PostgresProblem, PostgresServer, socket_folder, temporary_postgres
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

OWNER = """
import sys
from devstack.postgres import temporary_postgres
with temporary_postgres() as server:
    print(server.log.parent, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's tmp_path: only its owner may enter that, and as root the server runs as another user.
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="devstack-test-") as made:
        Path(made).chmod(0o711)
        yield Path(made) / "postgres"


def ask(server: PostgresServer, query: str, database: str = "postgres") -> object:
    with server.connect(database) as connection:
        row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]


def process_of(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "data" / "postmaster.pid").read_text().splitlines()[0]))


def test_keeps_data_and_creates_a_database_once(folder: Path) -> None:
    with PostgresServer(folder, max_connections="17") as server:
        server.create_database("kept")
        with server.connect("kept") as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    assert not server.is_running()
    with server:
        server.create_database("kept")
        assert ask(server, "SELECT value FROM kept", "kept") == 7
        assert ask(server, "SHOW max_connections") == "17"


def test_recovers_after_a_crash(folder: Path) -> None:
    with PostgresServer(folder) as server:
        server.create_database("kept")
        server.crash()
        assert not server.is_running()
        server.start()
        assert ask(server, "SELECT 1", "kept") == 1


def test_refuses_a_folder_that_is_in_use(folder: Path) -> None:
    with PostgresServer(folder) as server:
        with pytest.raises(PostgresProblem, match="Another process"):
            PostgresServer(folder).start()
        assert ask(server, "SELECT 1") == 1


def test_a_temporary_server_leaves_nothing_behind() -> None:
    with temporary_postgres() as server:
        folder = server.log.parent
        process = process_of(folder)
    assert not process.is_running()
    assert not folder.exists()


def test_a_temporary_server_of_a_killed_process_leaves_nothing_behind() -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout
    folder = Path(owner.stdout.readline().strip())
    process = process_of(folder)
    (segment,) = re.findall(r"^ *\d+ +(\d+) *$", (folder / "data" / "postmaster.pid").read_text(), re.MULTILINE)
    owner.kill()
    owner.communicate()
    wait_until(lambda: not process.is_running(), "the server has ended")
    wait_until(lambda: not folder.exists(), "its folder is removed")
    segments = Path("/proc/sysvipc/shm")
    assert not segments.exists() or segment not in segments.read_text().split()


def test_ends_a_server_that_outlived_its_owner(folder: Path) -> None:
    with PostgresServer(folder) as server:
        old = process_of(folder)
        assert server._lock
        server._lock.close()  # as the end of its owner does
        with PostgresServer(folder) as new:
            assert not old.is_running() or old.status() == psutil.STATUS_ZOMBIE
            assert ask(new, "SELECT 1") == 1


def test_starts_over_a_lock_file_whose_process_id_was_given_to_another(folder: Path) -> None:
    with PostgresServer(folder):
        lock_file = folder / "data" / "postmaster.pid"
        lines = lock_file.read_text().splitlines()
    lock_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    with PostgresServer(folder) as server:
        assert ask(server, "SELECT 1") == 1


def test_starts_in_a_folder_too_deep_for_a_socket(folder: Path) -> None:
    deep = folder.parent / ("deep" * 20) / ("folder" * 10) / "postgres"
    deep.parent.mkdir(parents=True)
    with PostgresServer(deep) as server:
        assert ask(server, "SELECT 1") == 1
    socket_folder(deep).rmdir()


def test_stops_while_a_client_is_connected(folder: Path) -> None:
    with PostgresServer(folder) as server:
        connection = server.connect()
        process = process_of(folder)
    assert not process.is_running()
    connection.close()


def test_says_why_the_server_did_not_start(folder: Path) -> None:
    with pytest.raises(PostgresProblem, match="shared_buffers"):
        PostgresServer(folder, shared_buffers="rubbish").start()
    with PostgresServer(folder) as server:
        assert ask(server, "SELECT 1") == 1
