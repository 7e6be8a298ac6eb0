"""Two nodes with one database, and everything around them, to be broken and mended."""

import json
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

from devstack.postgres import PostgresServer, temporary_postgres
from tests.support.auth import ScriptedAuth
from tests.support.database import cut_connections, fill
from tests.support.server import Server
from tests.support.upstream import ScriptedUpstream

from . import troubles
from .history import History, set_up_history
from .points import Control
from .proxy import Proxy
from .troubles import later

CHECKPOINT_S = 0.2
HEARTBEAT_S = 2
ABANDONED_AFTER_S = 2.0
# Longer than any schedule's reply may be held up by its faults.
START_TIMEOUT_S = 2
TIMEOUTS = {"INFERENCE_START_TIMEOUT": str(START_TIMEOUT_S), "INFERENCE_IDLE_TIMEOUT": "2", "GENERATION_TIMEOUT": "8"}
# Of which the last 5 s are the service's own reserve: replies run on for 1 s.
GRACEFUL_TIMEOUT_S = 6
WORKERS = (1, 2)
SOCKET_NAME = ".s.PGSQL.5432"
BACK_LATER_S = 0.4


class Cluster:
    """One worker on one port, two on another; a context manager.

    With the name of a defect, the servers have it, and are killed at the end: it may keep them from ending by themselves.
    """

    def __init__(self, on_point: Callable[[str, str, int], None], defect: str = "") -> None:
        self._defect = defect
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="chat-api-faults-")))
        self._on_point = on_point
        self.postgres: PostgresServer
        self.auth = ScriptedAuth()
        self.upstream = ScriptedUpstream()
        self.nodes: list[Server] = []
        # Between clients and each node, and between the nodes and the database.
        self.proxies: list[Proxy] = []
        self.database_proxies: list[Proxy] = []
        self.history = History(self)

    def __enter__(self) -> "Cluster":
        with ExitStack() as stack:
            stack.enter_context(self._stack)
            self.postgres = stack.enter_context(temporary_postgres())
            for part in (self.auth, self.upstream, Control(self._folder, self._on_point)):
                stack.enter_context(part)
            fill(self.postgres)
            with self.postgres.connect() as connection:
                set_up_history(connection)
                troubles.set_up_clock(connection)
            for number, workers in enumerate(WORKERS):
                folder = self._folder / f"postgres-{number}"
                folder.mkdir()
                proxy = Proxy(folder / SOCKET_NAME, Path(self.postgres.host, SOCKET_NAME))
                self.database_proxies.append(stack.enter_context(proxy))
                self.nodes.append(stack.enter_context(self._node(workers, folder)))
                self.proxies.append(stack.enter_context(Proxy(0, self.nodes[-1].port)))
                if self._defect:
                    stack.callback(self.nodes[-1].kill)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _node(self, workers: int, database_folder: Path) -> Server:
        return Server(
            database_url=f"postgresql://postgres@/postgres?host={quote(str(database_folder))}",
            auth_url=self.auth.url,
            upstream_url=self.upstream.url,
            application="tests.faults.instrumented",
            arguments=("--graceful-timeout", str(GRACEFUL_TIMEOUT_S)),
            WEB_CONCURRENCY=str(workers),
            CHECKPOINT_SECONDS=str(CHECKPOINT_S),
            HEARTBEAT_SECONDS=str(HEARTBEAT_S),
            ABANDONED_AFTER_SECONDS=str(ABANDONED_AFTER_S),
            FAULTS_FOLDER=str(self._folder),
            FAULTS_DEFECT=self._defect,
            **TIMEOUTS,
        )

    @property
    def ports(self) -> list[int]:
        """Where clients reach the nodes."""
        return [proxy.port for proxy in self.proxies]

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.postgres.connect() as connection:
            return connection.execute(query, values).fetchall()

    def restart_database(self, down_s: float) -> threading.Thread:
        """Crash the database now and have it back after a while."""
        self.postgres.crash()
        return later(down_s, self.postgres.start)

    def cut_connections(self) -> None:
        cut_connections(self.postgres.url())

    def silence_database(self, seconds: float) -> threading.Thread:
        """Let nothing pass between the nodes and the database for a while. Both still see the connections.

        One node is back a little sooner than the other.
        """
        for proxy in self.database_proxies:
            proxy.freeze()

        def thaw() -> None:
            for proxy in self.database_proxies:
                proxy.thaw()
                threading.Event().wait(BACK_LATER_S)

        return later(seconds, thaw)

    def freeze_proxy(self, node: int, seconds: float, *, then_break: bool) -> threading.Thread:
        """Freeze the proxy of a node for a while. It then goes on, or ends and breaks its connections."""
        self.proxies[node].freeze()
        return later(seconds, lambda: self.proxies[node].thaw(and_cut=then_break))

    def take_memory_away(self, pid: int) -> None:
        """Have the next step of this worker that is instrumented find no memory."""
        (self._folder / f"memory-{pid}").touch()

    def give_memory_back(self) -> None:
        for wanted in self._folder.glob("memory-*"):
            wanted.unlink(missing_ok=True)

    def node_of(self, pid: int) -> int | None:
        """Return the number of the node that has this worker."""
        return next((number for number, node in enumerate(self.nodes) if pid in node.workers()), None)

    def reload(self, number: int, pause_s: float) -> set[int]:
        """Tell a node to replace its workers, twice. Return those that end for it."""
        node, ending = self.nodes[number], set[int]()
        for _ in range(2):
            ending |= set(node.workers())
            node.reload()
            threading.Event().wait(pause_s)
        return ending

    def wait_reloaded(self, number: int) -> set[int]:
        """Wait until a node has acted on all reloads. Return the workers that end for them, or have ended before."""
        return set(self.nodes[number].wait_reloaded()[: -WORKERS[number]])

    def hold_rows(self, conversation: str, seconds: float, *, then_break: bool = False) -> threading.Thread:
        """Lock a conversation's messages now, for a while: they can be read and not changed.

        With `then_break` the statements that wait for them then lose their connections.
        """
        connection = self.postgres.connect()
        connection.execute("SET lock_timeout = '5s'")
        connection.execute("BEGIN")
        connection.execute("SELECT id FROM messages WHERE conversation_id = %s FOR UPDATE", [conversation])

        def let_go() -> None:
            if then_break:
                self.cut_connections()
            connection.close()

        return later(seconds, let_go)

    def take_upstream_away(self, seconds: float) -> threading.Thread:
        """Have the inference service refuse connections for a while, and cut those that it has."""

        def away() -> None:
            with self.upstream.away():
                threading.Event().wait(seconds)

        return later(0, away)

    def worker_states(self) -> dict[int, dict[str, Any]] | None:
        """Look into every worker; None where one is missing or does not answer."""
        states = {}
        for node, expected in zip(self.nodes, WORKERS, strict=True):
            pids = node.workers()
            if len(pids) != expected:
                return None
            for pid in pids:
                try:
                    states[pid] = self._look_into(pid)
                except (OSError, ValueError):
                    return None
        return states

    def pools(self) -> dict[tuple[int, int], tuple[int, int]]:
        """Return how many connections each pool of each worker has, and how many of them are free."""
        states = self.worker_states() or {}
        return {(pid, number): tuple(pool) for pid, state in states.items() for number, pool in enumerate(state["pools"])}

    def _look_into(self, pid: int) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as window:
            window.settimeout(5)
            window.connect(str(self._folder / str(pid)))
            with window.makefile("rb") as said:
                return dict(json.loads(said.read()))

    def log(self) -> str:
        return "\n".join(node.log for node in self.nodes)
