"""Run the service on a primary and a standby that Patroni manages: `python -m devstack.cluster`, to try a fail-over by hand.

It starts the servers, then `devstack.run` with their `DATABASE_URL`. A server that is killed is started again after a while, as
systemd would do it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from devstack.folder import PROJECT
from devstack.patroni import ClusterProblem, PatroniCluster, PatroniNode, temporary_cluster

RESTART_AFTER_S = 60.0
PAUSE_S = 0.5


def say(line: str) -> None:
    print(line, flush=True)


def instructions(cluster: PatroniCluster) -> str:
    lines = []
    for node in cluster.nodes:
        assert node.process
        role = "primary" if node.is_primary() else "standby"
        lines.append(f"{node.name}, the {role} on port {node.port}. To kill it: kill -9 {node.process.pid} {node.postmaster()}")
    lines.append(f"To change roles: patronictl -c {cluster.nodes[0].configuration} switchover --force chat")
    lines.append("Their data is removed at the end.")
    return "\n".join(lines)


@contextmanager
def ended_by_signals(service: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Pass Ctrl-C and SIGTERM on to the service, which ends first."""
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: service.send_signal(signal.SIGTERM)) for number in names}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch(cluster: PatroniCluster, service: "subprocess.Popen[bytes]") -> None:
    """Start killed servers again, and say which one is the primary, until the service ends."""
    lost_at: dict[str, float] = {}
    last: PatroniNode | None = cluster.primary()
    while service.poll() is None:
        time.sleep(PAUSE_S)
        for node in cluster.nodes:
            if node.is_running():
                continue
            now = time.monotonic()
            if now - lost_at.setdefault(node.name, now) > RESTART_AFTER_S:
                del lost_at[node.name]
                say(f"Starting {node.name} again …")
                node.start()
        primary = cluster.primary()
        if primary and primary is not last:
            say(f"{primary.name} is the primary now.")
            last = primary


def main() -> int:
    try:
        say("PostgreSQL, twice, with Patroni and etcd …")
        with temporary_cluster() as cluster:
            say(instructions(cluster))
            environment = {**os.environ, "DATABASE_URL": cluster.url()}
            # Its own process group: Ctrl-C reaches it through this process, once.
            service = subprocess.Popen([sys.executable, "-m", "devstack.run"], cwd=PROJECT, env=environment, process_group=0)
            with ended_by_signals(service):
                watch(cluster, service)
            return service.returncode
    except ClusterProblem as problem:
        say(str(problem))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
