"""The embedded PostgreSQL, with real servers in folders of their own."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from devstack.folder import PROJECT
from devstack.locks import FileLock
from devstack.postgres import Cluster, PostgresProblem, socket_folder
from devstack.tests.waiting import wait_until


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's tmp_path: only its owner may enter that, and as root the server runs as somebody else.
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="devstack-test-") as made:
        Path(made).chmod(0o711)
        yield Path(made) / "postgres"


def ask(cluster: Cluster, query: str, database: str = "postgres") -> object:
    with psycopg.connect(cluster.url(database)) as connection:
        row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]


def postmaster(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])


def is_stopped(folder: Path) -> bool:
    return FileLock(folder / "keeper.lock").is_free() and not (folder / "data" / "postmaster.pid").exists()


def user_process(folder: Path) -> "subprocess.Popen[str]":
    """Return another process that uses the cluster until its stdin closes."""
    script = f"""
        import sys
        from pathlib import Path
        from devstack.postgres import Cluster
        cluster = Cluster(Path({str(folder)!r}))
        cluster.start()
        print("started", flush=True)
        sys.stdin.read()
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def end(process: "subprocess.Popen[str]") -> None:
    process.communicate()


def test_serves_until_the_last_user_stops(folder: Path) -> None:
    cluster = Cluster(folder, {"fsync": "off", "max_connections": "300"})
    cluster.start()
    assert ask(cluster, "SHOW fsync") == "off"
    assert ask(cluster, "SHOW max_connections") == "300"
    assert cluster.is_running()
    cluster.stop()
    assert is_stopped(folder)


def test_keeps_data_and_creates_a_database_once(folder: Path) -> None:
    cluster = Cluster(folder)
    cluster.start()
    cluster.create_database("samosachaat")
    with psycopg.connect(cluster.url("samosachaat")) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    cluster.stop()
    cluster.start()
    cluster.create_database("samosachaat")
    assert ask(cluster, "SELECT value FROM kept", "samosachaat") == 7
    cluster.stop()


def test_several_processes_share_one_server(folder: Path) -> None:
    users = [user_process(folder) for _ in range(3)]
    for user in users:
        assert user.stdout is not None
        assert user.stdout.readline() == "started\n"
    server = postmaster(folder)
    users[0].kill()
    end(users[0])
    end(users[1])
    cluster = Cluster(folder)
    cluster.start()
    assert postmaster(folder) == server
    cluster.stop()
    assert not is_stopped(folder), "one user is left"
    users[2].kill()  # a user that cannot say goodbye counts as gone, too
    end(users[2])
    wait_until(lambda: is_stopped(folder), "the server stopped")


def test_recovers_a_killed_server(folder: Path) -> None:
    cluster = Cluster(folder)
    cluster.start()
    cluster.create_database("kept")
    os.kill(postmaster(folder), signal.SIGKILL)
    wait_until(lambda: not cluster.is_running(), "the keeper noticed")
    cluster.start()
    assert ask(cluster, "SELECT 1", "kept") == 1
    cluster.stop()


def test_starts_over_a_lock_file_whose_process_id_was_given_to_another(folder: Path) -> None:
    cluster = Cluster(folder)
    cluster.start()
    lock_file = folder / "data" / "postmaster.pid"
    noted = lock_file.read_text().splitlines()
    cluster.stop()
    lock_file.write_text("\n".join([str(os.getpid()), *noted[1:]]))
    cluster.start()
    assert ask(cluster, "SELECT 1") == 1
    cluster.stop()


def test_server_stops_when_its_keeper_is_killed(folder: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("needs Linux's parent-death signal")
    import psutil

    cluster = Cluster(folder)
    cluster.start()
    server = psutil.Process(postmaster(folder))
    keeper = server.parent()
    assert keeper is not None
    keeper.kill()
    wait_until(lambda: not server.is_running(), "the server stopped")
    cluster.start()
    assert ask(cluster, "SELECT 1") == 1
    cluster.stop()


def test_starts_in_a_folder_too_deep_for_a_socket(folder: Path) -> None:
    deep = folder.parent / ("deep" * 20) / ("folder" * 10) / "postgres"
    deep.parent.mkdir(parents=True)
    cluster = Cluster(deep)
    cluster.start()
    assert ask(cluster, "SELECT 1") == 1
    cluster.stop()
    socket_folder(deep).rmdir()


def test_says_why_the_server_did_not_start(folder: Path) -> None:
    cluster = Cluster(folder, {"shared_buffers": "rubbish"})
    with pytest.raises(PostgresProblem, match="shared_buffers"):
        cluster.start()
    assert is_stopped(folder)
