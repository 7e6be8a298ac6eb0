"""Compare `prune_history` with the plain SQL DELETE of the same rows, and sends beside it with sends by themselves.

    python -m benchmarks.prune --conversations 300000 --messages 3000000

Every way starts from the same rows (see `history`) and deletes a third of them.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.databases import start_postgres
from benchmarks.history import CHOSEN, deleted_rows, fresh_copy, prepare, run_prune, run_sql
from benchmarks.measuring import percentile
from benchmarks.sends import Sends, serve

TWO_DELETES = (
    f"DELETE FROM messages USING conversations c WHERE conversation_id = c.id AND c.{CHOSEN.replace('NOT is', 'NOT c.is')}",
    f"DELETE FROM conversations WHERE {CHOSEN}",
)
CASCADE = (f"DELETE FROM conversations WHERE {CHOSEN}",)
# How long sends are measured by themselves.
ALONE_S = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conversations", type=int, default=30_000)
    parser.add_argument("--messages", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; the best one is shown")
    parser.add_argument("--sends", type=float, default=20, metavar="RATE", help="a second, beside a prune_history at the end")
    options = parser.parse_args()
    base = start_postgres()
    prepare(base, options.conversations, options.messages)
    compare_with_sql(base, options.rounds)
    if options.sends:
        compare_sends(base, options.sends)


def compare_with_sql(base: str, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "pruned.jsonl.gz")
        ways: dict[str, Callable[[str], float]] = {
            "plain SQL, two DELETEs": lambda url: run_sql(url, TWO_DELETES),
            "plain SQL, DELETE with CASCADE": lambda url: run_sql(url, CASCADE),
            "prune_history": lambda url: run_prune(url),
            "prune_history --archive": lambda url: run_prune(url, f"--archive={archive}"),
        }
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(rounds):
            for name, way in ways.items():
                archive.unlink(missing_ok=True)
                url = fresh_copy(base)
                best[name] = min(best[name], way(url))
    conversations, messages = deleted_rows(base)
    print(f"deleted: {conversations:,} conversations, {messages:,} messages")
    for name, seconds in best.items():
        ratio = seconds / best["plain SQL, two DELETEs"]
        print(f"{name:32} {seconds:7.2f} s  {ratio:5.2f} x  {messages / seconds:10,.0f} messages/s")
    memory_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"most memory of any command: {memory_mib:.0f} MiB")


def compare_sends(base: str, rate: float) -> None:
    """Show how long sends take by themselves and beside pruning; one run each, warmed up by a first one."""
    url = fresh_copy(base)
    with serve(url) as server:
        sends = Sends(server.port, rate)
        sends.during(lambda: time.sleep(ALONE_S / 3))
        alone = sends.during(lambda: time.sleep(ALONE_S))
        beside = sends.during(lambda: run_prune(url))
    for percent in (50, 95):
        usual, meanwhile = percentile(alone, percent) * 1000, percentile(beside, percent) * 1000
        print(f"sends, p{percent}: {usual:.1f} ms alone, {meanwhile:.1f} ms beside prune_history, {meanwhile / usual:.2f} x")


if __name__ == "__main__":
    main()
