"""A primary and a standby of PostgreSQL that Patroni manages, with etcd: for `make cluster` and the test of a fail-over.

The programs are Debian's packages `patroni`, `etcd-server` and `postgresql`. Started by root, they run as the user `nobody`.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

from devstack.postgres import make_private_folder, popen_options, read_lines
from devstack.processes import free_port, last_lines
from devstack.watcher import kill_children_at_the_end, remove_at_the_end

PACKAGES = ("patroni", "etcd-server", "postgresql")
START_TIMEOUT_S = 90
PAUSE_S = 0.1
# As short as Patroni allows: it promotes the standby when the primary has not renewed its lease for `ttl` seconds.
TIMINGS = {"ttl": 20, "loop_wait": 2, "retry_timeout": 5}


class ClusterProblem(Exception):
    """The cluster cannot be started. The text says why."""


def postgres_programs() -> Path | None:
    """Return the folder of the newest PostgreSQL programs that Debian's packages installed."""
    versions = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    found = sorted((program.parent for program in versions), key=lambda folder: int(folder.parent.name))
    return found[-1] if found else None


def missing_packages() -> list[str]:
    """List the Debian packages that the cluster needs and that are not installed."""
    has = {"patroni": shutil.which("patroni"), "etcd-server": shutil.which("etcd"), "postgresql": postgres_programs()}
    return [name for name in PACKAGES if not has[name]]


class _Process:
    """A process with a folder of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder / name
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        make_private_folder(self.folder)

    def launch(self, *command: str) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, **popen_options())

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


class PatroniNode(_Process):
    """One PostgreSQL server and the Patroni that starts, watches and promotes it."""

    def __init__(self, name: str, folder: Path, etcd: str, passwords: dict[str, str]) -> None:
        super().__init__(name, folder)
        self.port, self._rest_port = free_port(), free_port()
        self._data = self.folder / "data"
        self.configuration = folder / f"{name}.yml"
        self.configuration.write_text(json.dumps(self._described(etcd, passwords)))  # JSON is YAML
        if owner := popen_options().get("user"):
            os.chown(self.configuration, owner, -1)
        self.configuration.chmod(0o600)

    def _described(self, etcd: str, passwords: dict[str, str]) -> dict[str, Any]:
        rest, address = f"127.0.0.1:{self._rest_port}", f"127.0.0.1:{self.port}"
        return {
            "scope": "chat",
            "name": self.name,
            "etcd3": {"host": etcd},
            "restapi": {"listen": rest, "connect_address": rest},
            "bootstrap": {
                "dcs": {
                    **TIMINGS,
                    # A commit waits until the standby has it, and Patroni promotes no other standby.
                    "synchronous_mode": True,
                    "postgresql": {"use_pg_rewind": True, "parameters": {"max_connections": 200, "wal_log_hints": "on"}},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "no-sync"],
            },
            "postgresql": {
                "listen": address,
                "connect_address": address,
                "data_dir": str(self._data),
                "bin_dir": str(postgres_programs()),
                "pgpass": str(self.folder / "pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres", "password": passwords["postgres"]},
                    "replication": {"username": "replicator", "password": passwords["replicator"]},
                },
                "pg_hba": [
                    "host all all 127.0.0.1/32 scram-sha-256",
                    "host replication replicator 127.0.0.1/32 scram-sha-256",
                ],
                "parameters": {"unix_socket_directories": str(self.folder)},
            },
        }

    def start(self) -> None:
        self.launch("patroni", str(self.configuration))

    def kill(self) -> None:
        """Kill Patroni and PostgreSQL with SIGKILL, as when the machine is lost."""
        self.end()
        with suppress(psutil.Error):
            server = psutil.Process(self.postmaster())
            for process in (server, *server.children(recursive=True)):
                process.kill()

    def stop(self) -> None:
        """Kill Patroni, and have PostgreSQL end at once."""
        self.end()
        with suppress(psutil.Error):
            psutil.Process(self.postmaster()).send_signal(signal.SIGQUIT)

    def postmaster(self) -> int:
        """Return the id of PostgreSQL's first process; raises psutil.Error if there is none."""
        lines = read_lines(self._data / "postmaster.pid")
        if not lines:
            raise psutil.NoSuchProcess(0)
        return int(lines[0])

    def state(self) -> dict[str, Any]:
        """Return what Patroni says about the server, or {} if it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._rest_port}/patroni", timeout=2) as answer:
                return dict(json.load(answer))
        except (OSError, ValueError):
            return {}

    def is_primary(self) -> bool:
        state = self.state()
        return state.get("role") in ("master", "primary") and state.get("state") == "running"

    def is_synchronous_standby(self) -> bool:
        return bool(self.state().get("sync_standby"))


class PatroniCluster:
    """Two nodes and etcd in a folder; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._passwords = {name: secrets.token_hex(16) for name in ("postgres", "replicator")}
        port, peers = free_port(), f"http://127.0.0.1:{free_port()}"
        self._etcd = _Process("etcd", folder)
        self._etcd_address = f"127.0.0.1:{port}"
        self._etcd_command = ["etcd", "--name=etcd", f"--data-dir={self._etcd.folder / 'data'}"]
        for option in ("listen-client-urls", "advertise-client-urls"):
            self._etcd_command.append(f"--{option}=http://{self._etcd_address}")
        for option in ("listen-peer-urls", "initial-advertise-peer-urls"):
            self._etcd_command.append(f"--{option}={peers}")
        self._etcd_command.append(f"--initial-cluster=etcd={peers}")
        self.nodes = [PatroniNode(name, folder, self._etcd_address, self._passwords) for name in ("db1", "db2")]

    def url(self, database: str = "postgres") -> str:
        """Return the DATABASE_URL, which names both servers."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"postgresql://postgres:{self._passwords['postgres']}@{hosts}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """Connect to the primary."""
        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=5, target_session_attrs="read-write")

    def primary(self) -> PatroniNode | None:
        return next((node for node in self.nodes if node.is_primary()), None)

    def __enter__(self) -> "PatroniCluster":
        kill_children_at_the_end()
        try:
            self._etcd.launch(*self._etcd_command)
            for node in self.nodes:
                node.start()
            self.wait_for_standby()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.stop()
        self._etcd.end()

    def wait_for_standby(self) -> None:
        """Wait until there is a primary, and a standby that has all that is committed."""
        self._wait_until(lambda: any(node.is_synchronous_standby() for node in self.nodes) and bool(self.primary()))

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not condition():
            ended = [part for part in (self._etcd, *self.nodes) if not part.is_running()]
            if ended or time.monotonic() > deadline:
                logs = [line for part in (self._etcd, *self.nodes) for line in (f"{part.name}:", *last_lines(part.log))]
                raise ClusterProblem("\n".join(["The cluster of PostgreSQL servers did not start.", *logs]))
            time.sleep(PAUSE_S)


@contextmanager
def temporary_cluster() -> Iterator[PatroniCluster]:
    """Run a cluster in a temporary folder, which is removed at the end, even if this process is killed."""
    if missing := missing_packages():
        raise ClusterProblem(f"These Debian packages are missing: {', '.join(missing)}. Install them with apt-get install.")
    # Not below TMPDIR, which the user `nobody` may not be allowed to enter.
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="chat-api-cluster-"))
    remove_at_the_end(folder)
    folder.chmod(0o711)
    try:
        with PatroniCluster(folder) as cluster:
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)
