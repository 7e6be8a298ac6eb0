"""What the common requests cost PostgreSQL: CPU time of all its processes, WAL, and the share of updates that touch no index.

Beside them, in the same run, pgbench's select and its simple update (`-S` and `-N`), both with prepared statements. A database
server carries as many requests as its CPU allows, however many nodes use it.

PostgreSQL has a processor to itself, and one session asks without a pause, as pgbench does. With `--over-http`, real requests
come over HTTP, checkpoints included, and the load generator shares the processor: a session that is idle most of the time costs
two to three times as much for each request, because nothing of it is in the processor's caches.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import psycopg

from benchmarks.contenders import metronome, our_service
from benchmarks.databases import execute, in_database, new_database, start_postgres
from benchmarks.measuring import SERVER_PROCESSOR, pin, take_load_processors
from benchmarks.ratios import read_baseline, table, write_baseline
from benchmarks.requests import CommonRequests
from devstack.folder import PROJECT
from devstack.postgres import programs_folder

KINDS = ("list", "get", "create", "rename", "send")
ROUNDS = 5
# So much cheaper than the others that what the server does beside them would show.
READS = ("list", "get")
READS_PER_WRITE = 5
WARMING = 100
Ask = Callable[[str, int], None]
# PostgreSQL writes statistics a second after a transaction, and a checkpoint or autovacuum may run beside the requests.
SETTLE_S = 1.5
IDLE_S = 4.0
SEND_TOKENS = 40
SELECT, SIMPLE = "pgbench -S prepared", "pgbench -N prepared"
UPDATES_SQL = "SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname IN ('conversations', 'messages')"
WAL_SQL = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"


class Database:
    """The server whose cost is measured."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._monitor = psycopg.connect(url, autocommit=True)
        (backend,) = self._monitor.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        self._own = psutil.Process(backend)
        parent = self._own.parent()
        assert parent is not None
        self._postmaster = parent
        self._idle = 0.0

    def cpu_seconds(self) -> float:
        """Return the CPU time of all processes, those that have ended included, without this class's own session."""
        times = self._postmaster.cpu_times()
        ended = times.children_user + times.children_system
        running = [self._postmaster, *self._postmaster.children()]
        return ended + sum(_cpu_s(process) for process in running if process.pid != self._own.pid)

    def wal_bytes(self) -> int:
        (written,) = self._monitor.execute(WAL_SQL).fetchone() or (0,)
        return int(written)

    def updates(self) -> dict[str, tuple[int, int]]:
        """Return how many rows of each table were updated, and how many of them without touching an index."""
        return {name: (all_of_them, hot) for name, all_of_them, hot in self._monitor.execute(UPDATES_SQL).fetchall()}

    def note_idle(self) -> None:
        """Measure what the server does each second without requests: leases, checkpoints, autovacuum."""
        self._idle = 0.0
        cpu_s, _ = self.during(partial(time.sleep, IDLE_S))
        self._idle = cpu_s / (IDLE_S + SETTLE_S)

    def during(self, work: Callable[[], object]) -> tuple[float, int]:
        """Return CPU seconds and bytes of WAL that a piece of work costs, without the CPU of an idle server for that time."""
        time.sleep(SETTLE_S)
        cpu_s, wal, started_at = self.cpu_seconds(), self.wal_bytes(), time.monotonic()
        work()
        time.sleep(SETTLE_S)
        idle_s = self._idle * (time.monotonic() - started_at)
        return self.cpu_seconds() - cpu_s - idle_s, self.wal_bytes() - wal


def _cpu_s(process: psutil.Process) -> float:
    try:
        # In nanoseconds, where the kernel counts them so.
        return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return 0.0


def pgbench(url: str, script: str, transactions: int) -> None:
    """Run one of pgbench's own scripts over one connection."""
    command = [str(programs_folder() / "pgbench"), script, "-M", "prepared", "-n", "-t", str(transactions), url]
    subprocess.run(command, check=True, capture_output=True)


class BackToBack:
    """The process of `back_to_back`, on the processor that PostgreSQL does not have."""

    def __init__(self, database_url: str) -> None:
        environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "DJANGO_SETTINGS_MODULE": "chatapi.settings",
            "SECRET_KEY": "only-for-benchmarks-long-enough-to-start-with",
        }
        command = [sys.executable, "-m", "benchmarks.back_to_back"]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT
        )
        pin(self._process.pid, [SERVER_PROCESSOR])
        self._await("ready")

    def ask(self, kind: str, count: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{kind} {count}\n")
        self._process.stdin.flush()
        self._await("done")

    def close(self) -> None:
        self._process.communicate()

    def _await(self, word: str) -> None:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        assert answer == word, answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=400, help="of each kind and round")
    parser.add_argument("--over-http", action="store_true", help="measure real requests")
    parser.add_argument("--write-baseline", action="store_true", help="replace the committed ratios")
    options = parser.parse_args()
    take_load_processors()
    base = start_postgres()
    with _asking(base, over_http=options.over_http) as (database_url, ask):
        # Behind the checkpoint that the removal of an older database brings: otherwise pgbench would write full pages.
        beside = new_database(base, "pgbench", is_migrated=False)
        subprocess.run([str(programs_folder() / "pgbench"), "-i", "-q", "-s", "5", beside], check=True, capture_output=True)
        database = Database(in_database(base, re.sub(r".*/(\w+)\?.*", r"\1", database_url)))
        for kind in KINDS:
            ask(kind, WARMING)  # plans are made, and pages are in memory
        for url in (database_url, beside):
            execute(url, "VACUUM ANALYZE")  # of new tables, which autovacuum would do in the middle of it
        rounds = [_measure(database, ask, beside, options.requests) for _ in range(ROUNDS)]
        updates = database.updates()
    ratios = _print(rounds)
    for name, (all_of_them, hot) in sorted(updates.items()):
        print(f"{name}: {hot / max(1, all_of_them):.0%} of {all_of_them:,} updates touched no index")
    print("\n".join(table(ratios, read_baseline())))
    if options.write_baseline:
        write_baseline(ratios)


@contextmanager
def _asking(base: str, *, over_http: bool) -> Iterator[tuple[str, Ask]]:
    """Yield the URL of a new database and what makes a kind of request in it some times."""
    if over_http:
        with metronome() as (upstream, _), our_service(base, upstream) as contender:
            common = CommonRequests(contender.port, contender.workers[0], send_tokens=SEND_TOKENS)
            yield contender.database_url, common.ask
    else:
        url = new_database(base, "ours")
        asking = BackToBack(url)
        yield url, asking.ask
        asking.close()


def _measure(database: Database, ask: Ask, beside: str, count: int) -> dict[str, tuple[float, float]]:
    """Return CPU seconds and bytes of WAL of one request of each kind."""
    costs: dict[str, tuple[float, float]] = {}
    database.note_idle()
    for name, script, transactions in ((SELECT, "-S", 10 * count), (SIMPLE, "-N", 2 * count)):
        cpu_s, wal = database.during(partial(pgbench, beside, script, transactions))
        costs[name] = cpu_s / transactions, wal / transactions
    for name in KINDS:
        requests = READS_PER_WRITE * count if name in READS else count
        cpu_s, wal = database.during(partial(ask, name, requests))
        costs[name] = cpu_s / requests, wal / requests
    return costs


def _print(rounds: list[dict[str, tuple[float, float]]]) -> dict[str, float]:
    print(f"{'':20} CPU of PostgreSQL      WAL")
    for name in rounds[0]:
        cpu_s, wal = (statistics.median(costs[name][index] for costs in rounds) for index in (0, 1))
        print(f"{name:20} {cpu_s * 1e6:14.0f} µs {wal:9.0f} B")
    found: dict[str, list[float]] = {}
    for costs in rounds:
        for name, (cpu_s, _) in costs.items():
            one = SELECT if name in READS else SIMPLE
            if name not in (SELECT, SIMPLE):
                found.setdefault(f"PostgreSQL, {name} / {one}", []).append(cpu_s / costs[one][0])
    return {name: statistics.median(values) for name, values in found.items()}


if __name__ == "__main__":
    main()
