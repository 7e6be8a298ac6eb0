"""Two nodes that can be killed and restarted, and the nginx in front of them."""

from collections.abc import Callable
from contextlib import ExitStack

from devstack.processes import free_port
from tests.support.client import Answer, Client, Stream
from tests.support.nginx import Nginx
from tests.support.server import Server
from tests.support.waiting import wait_until


class Cluster:
    """A context manager. Each node keeps its port when it is restarted."""

    nginx: Nginx

    def __init__(self, start_node: Callable[[int], Server]) -> None:
        self._start_node = start_node
        self.ports = [free_port(), free_port()]
        self.nodes: dict[int, Server] = {}

    def __enter__(self) -> "Cluster":
        with ExitStack() as stack:
            for port in self.ports:
                self.start(port)
                stack.callback(lambda port=port: self.nodes[port].stop())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, port: int) -> None:
        """Start the node on this port. Return when it is ready."""
        self.nodes[port] = self._start_node(port).__enter__()

    def other(self, port: int) -> int:
        return next(other for other in self.ports if other != port)

    def wait_until_used(self, port: int, user: Client) -> None:
        """Wait until nginx sends requests to this node."""
        wait_until(lambda: node_of(user.request("GET", "/api/health")) == port, "nginx uses the node")

    def restart(self, port: int, user: Client) -> None:
        """Replace a node as an orchestrator does: SIGTERM, wait for its end, start, wait until it serves."""
        self.nodes[port].stop()
        self.start(port)
        self.wait_until_used(port, user)


def node_of(answer: Answer | Stream) -> int:
    """Return the port of the node that answered. If nginx asked several, the last one did."""
    return int(answer.headers["X-Node"].rpartition(":")[2])
