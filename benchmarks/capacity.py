"""What one core carries: how many streams at 20 tokens a second, with how much memory, and what happens beyond that.

    make bench BENCH=capacity                                   everything, about ten minutes
    make bench BENCH=capacity ARGS="--parts overload wal"       some parts

`overload`     2,000 streams at 20 and at 2 tokens a second, all started at once
`limit`        the largest number of streams at 20 tokens a second that keep up, with one worker
`workers`      the same with two workers on two processors
`checkpoints`  the share of a core that checkpoints of 500 running replies take
`wal`          what PostgreSQL writes to its log for a reply of 100 KB

A stream keeps up if its reply of 20 seconds arrives within 22, from the send to the end. A number of streams keeps up if 95 %
of them do and no send is refused, where the sends are spread over ten seconds.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.contenders import Contender, metronome, our_service
from benchmarks.databases import execute, start_postgres
from benchmarks.load import Streams, run_streams
from benchmarks.measuring import PROCESSORS, cpu_seconds, resident_bytes, take_load_processors
from benchmarks.ratios import machine

REAL_TIME = 0.9
RATE = 20
REPLY_S = 20
SPREAD_S = 10.0
# The search for the limit ends when it is known to this many streams.
STEP = 100
CHECKPOINTED_REPLIES = 500
# Few tokens, as long as ten usual ones: what relaying costs differs from run to run and must not hide the checkpoints' cost.
CHECKPOINT_RATE, CHECKPOINT_TOKEN_BYTES = 2, 50
# A worker that writes no checkpoint for 30 s counts as dead.
RARELY_S = 20
LONG_REPLIES, LONG_TOKENS, LONG_TOKEN_BYTES = 10, 1000, 100
PARTS = ("overload", "limit", "workers", "checkpoints", "wal")


class Bench:
    """What the parts share: PostgreSQL, the inference service, and the results."""

    def __init__(self, base: str, upstream: tuple[int, int]) -> None:
        self.base, (self.upstream, self.metronome) = base, upstream
        self.results: dict[str, Any] = {}

    @contextmanager
    def with_tokens(self, token_bytes: int) -> Iterator["Bench"]:
        """Use an inference service whose tokens have this many bytes of text."""
        with metronome(token_bytes) as upstream:
            other = Bench(self.base, upstream)
            other.results = self.results
            yield other

    @contextmanager
    def service(self, workers: int = 1, **settings: str) -> Iterator[Contender]:
        with our_service(self.base, self.upstream, workers=workers, **settings) as contender:
            self.run(contender, 20 * workers, 50, 50)  # what is only loaded once
            yield contender

    def run(
        self,
        contender: Contender,
        count: int,
        tokens: int,
        rate: int,
        spread_s: float = 0.0,
        sample: Callable[[], object] = lambda: None,
    ) -> Streams:
        requests = contender.requests(count, tokens, rate)
        return run_streams(contender.port, requests, tokens, [self.metronome], sample, spread_s)

    def note(self, name: str, **figures: Any) -> None:
        self.results[name] = figures
        print(f"{name}: " + ", ".join(f"{figure.replace('_', ' ')} {value}" for figure, value in figures.items()), flush=True)


def measure_overload(bench: Bench, count: int) -> None:
    """Start many streams at once, more than a core carries."""
    for rate, tokens in ((RATE, RATE * REPLY_S), (2, 2 * REPLY_S)):
        with bench.service() as contender:
            before, most = resident_bytes(*contender.workers), Largest()
            cpu = cpu_seconds(*contender.workers)
            streams = bench.run(
                contender,
                count,
                tokens,
                rate,
                sample=lambda: most.see(resident_bytes(*contender.workers)),  # noqa: B023
            )
            cpu_s = cpu_seconds(*contender.workers) - cpu
        accepted = count - streams.refused
        bench.note(
            f"{count:,} streams at {rate} tokens/s, started at once",
            refused=streams.refused,
            broken=len(streams.broken),
            first_token_p50_s=round(streams.first_token_s(50), 2),
            first_token_p99_s=round(streams.first_token_s(99), 2),
            seconds_to_the_end=round(streams.wall_s, 1),
            of_real_time=round(REPLY_S / streams.wall_s, 2),
            texts_per_s_p50=round(streams.texts_per_s(50), 1),
            texts_per_s_p1=round(streams.texts_per_s(1), 1),
            longest_gap_p99_s=round(streams.longest_gap_s(99), 2),
            kb_per_stream=round((most.value - before) / max(1, accepted) / 1000, 1),
            cpu_us_per_token=round(cpu_s / max(1, accepted) / tokens * 1e6, 1),
            generator_share=round(streams.generator_share, 2),
            load_processors_busy=round(streams.busy_share, 2),
        )


class Largest:
    def __init__(self) -> None:
        self.value = 0

    def see(self, value: int) -> None:
        self.value = max(self.value, value)


def measure_limit(bench: Bench, workers: int) -> None:
    """Search for the largest number of streams that keep up."""
    if workers > 1:
        print("Two workers need two processors" + (", which they share with the load here" if len(PROCESSORS) < 3 else ""))
    tried: dict[int, float] = {}
    memory: dict[int, float] = {}

    def keeps_up(count: int) -> bool:
        with bench.service(workers) as contender:
            before, most = resident_bytes(*contender.workers), Largest()
            streams = bench.run(
                contender, count, RATE * REPLY_S, RATE, SPREAD_S, lambda: most.see(resident_bytes(*contender.workers))
            )
        tried[count] = 0.0 if streams.refused or streams.broken else streams.pace(RATE, 5)
        memory[count] = (most.value - before) / count / 1000
        print(
            f"  {count} streams: pace of the slowest twentieth {streams.pace(RATE, 5):.2f}, median {streams.pace(RATE, 50):.2f}"
            f", refused {streams.refused}, broken {len(streams.broken)}, {memory[count]:.0f} KB a stream, "
            f"generator {streams.generator_share:.0%}, its processors {streams.busy_share:.0%} busy",
            flush=True,
        )
        return tried[count] >= REAL_TIME

    largest = largest_that(keeps_up, first=400 * workers, step=STEP)
    bench.note(
        f"streams at {RATE} tokens/s that {workers} worker{'s' * (workers > 1)} can keep up with",
        streams=largest,
        kb_per_stream=round(memory.get(largest, float("nan")), 1),
        tokens_per_s=largest * RATE,
    )


def largest_that(works: Callable[[int], bool], first: int, step: int) -> int:
    """Return the largest multiple of `step` that works, if all smaller ones do: by doubling, then by halving the interval."""
    low, high = 0, first
    while works(high):
        low, high = high, high * 2
    while high - low > step:
        middle = (low + high) // 2 // step * step
        if middle <= low:
            middle = low + step
        if works(middle):
            low = middle
        else:
            high = middle
    return low


def measure_checkpoints(shared: Bench, rounds: int) -> None:
    """Compare the CPU time of a worker that writes checkpoints every second with one that does so every 20 s."""
    with shared.with_tokens(CHECKPOINT_TOKEN_BYTES) as bench:
        compare_checkpoints(bench, rounds)


def compare_checkpoints(bench: Bench, rounds: int) -> None:
    shares: dict[str, list[float]] = {"default": [], "rarely": []}
    for _ in range(rounds):
        for name, settings in (("default", {}), ("rarely", {"CHECKPOINT_SECONDS": str(RARELY_S)})):
            with bench.service(**settings) as contender:
                shares[name].append(steady_share(bench, contender))
    default, rarely = (statistics.median(values) for values in shares.values())
    bench.note(
        f"checkpoints of {CHECKPOINTED_REPLIES} running replies at {CHECKPOINT_RATE} tokens/s",
        percent_of_a_core=round((default - rarely) * 100, 2),
        percent_with_every_second=round(default * 100, 2),
        percent_with_every_20_s=round(rarely * 100, 2),
    )


def steady_share(bench: Bench, contender: Contender) -> float:
    """Return the share of a core that a worker takes while all replies run: not while they begin, nor while they end."""
    samples: list[tuple[float, float]] = []
    began_at = time.monotonic()
    seconds = 16
    bench.run(
        contender,
        CHECKPOINTED_REPLIES,
        CHECKPOINT_RATE * seconds,
        CHECKPOINT_RATE,
        3.0,
        lambda: samples.append((time.monotonic(), cpu_seconds(*contender.workers))),
    )
    steady = [sample for sample in samples if 5 < sample[0] - began_at < seconds - 1]
    return (steady[-1][1] - steady[0][1]) / (steady[-1][0] - steady[0][0])


def measure_wal(shared: Bench) -> None:
    """Show what PostgreSQL writes to its log for long replies, and for the same replies without checkpoints."""
    with shared.with_tokens(LONG_TOKEN_BYTES) as bench:
        for name, settings in (("by default", {}), ("with checkpoints every 20 s", {"CHECKPOINT_SECONDS": str(RARELY_S)})):
            with bench.service(**settings) as contender, psycopg.connect(bench.base, autocommit=True) as connection:
                # PostgreSQL's own checkpoint now: none in the course of the run, with the whole pages that follow it.
                execute(bench.base, "CHECKPOINT")
                before = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
                streams = bench.run(contender, LONG_REPLIES, LONG_TOKENS, RATE)
                assert not streams.broken, streams.last_words()
                assert before
                row = connection.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", before).fetchone()
            assert row
            text = LONG_TOKENS * LONG_TOKEN_BYTES
            bench.note(
                f"WAL of a reply of {text // 1000} KB that takes {LONG_TOKENS // RATE} s, {name}",
                kb=round(float(row[0]) / LONG_REPLIES / 1000),
                times_its_text=round(float(row[0]) / LONG_REPLIES / text, 1),
                kb_per_s=round(float(row[0]) / LONG_REPLIES / 1000 / streams.wall_s, 1),
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--streams", type=int, default=2000, help="started at once in `overload`")
    parser.add_argument("--rounds", type=int, default=3, help="of `checkpoints`, which shows medians")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    options = parser.parse_args()
    take_load_processors()
    base = start_postgres()
    with metronome() as upstream:
        bench = Bench(base, upstream)
        measures: dict[str, Callable[[], None]] = {
            "overload": lambda: measure_overload(bench, options.streams),
            "limit": lambda: measure_limit(bench, 1),
            "workers": lambda: measure_limit(bench, 2),
            "checkpoints": lambda: measure_checkpoints(bench, options.rounds),
            "wal": lambda: measure_wal(bench),
        }
        for part in options.parts:
            measures[part]()
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "results": bench.results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
