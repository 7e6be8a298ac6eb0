"""What replies and requests cost in CPU time of one worker, beside nginx as a bare relay and a FastAPI service in the same run.

    make bench BENCH=streams ARGS=--quick      under two minutes, one round without FastAPI: while you work
    make bench BENCH=streams                   three rounds, everything
    make bench BENCH=streams ARGS="--write-baseline --json streams.json"

With two or more processors, the server has one for itself. The load generator, the test services and PostgreSQL use the others.
"One more token" is the difference between replies of 50 and of 350 tokens, divided by the tokens between them, so that the send
drops out.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contenders import Contender, fastapi, metronome, nginx, our_service
from benchmarks.databases import start_postgres
from benchmarks.load import BOTTLENECK, Streams, run_streams
from benchmarks.measuring import PROCESSORS, cpu_seconds, take_load_processors
from benchmarks.ratios import (
    machine,
    median_figures,
    ratios_of,
    ratios_to_one,
    read_baseline,
    slope,
    table,
    worse_than,
    write_baseline,
)
from benchmarks.requests import CommonRequests

# Tokens a second of each stream.
RATE = 50
SHORT, MIDDLE, LONG = 50, 100, 350
# What a server still does after the last byte of the last stream counts, too.
SETTLE_S = 0.3


class Run:
    """The results so far, and the share of their processors that the load generator and the test services used."""

    def __init__(self, metronome_pid: int) -> None:
        self._metronome = metronome_pid
        self.warnings: list[str] = []
        self.generator_share = self.busy_share = 0.0
        # How many runs there were, and in how many the load or its processors were the bottleneck.
        self.runs = self.crowded_runs = 0

    def cost(self, contender: Contender, count: int, tokens: int) -> tuple[float, Streams]:
        """Run `count` streams at once. Return the server's CPU seconds per stream, and the streams' results."""
        requests = contender.requests(count, tokens, RATE)
        before = cpu_seconds(*contender.workers)
        streams = run_streams(contender.port, requests, tokens, [self._metronome])
        time.sleep(SETTLE_S)
        cpu_s = cpu_seconds(*contender.workers) - before
        self.generator_share = max(self.generator_share, streams.generator_share)
        self.busy_share = max(self.busy_share, streams.busy_share)
        self.runs += 1
        self.crowded_runs += max(streams.generator_share, streams.busy_share) > BOTTLENECK
        if streams.refused or streams.broken:
            self.warnings.append(
                f"{contender.name}, {count} streams of {tokens} tokens: {streams.refused} were refused, {len(streams.broken)} "
                f"broke ({streams.last_words()[-60:].decode(errors='replace')!r}). The figures are shares of those that began."
            )
        return cpu_s / max(1, count - streams.refused), streams

    def measure(self, contender: Contender, counts: Sequence[int], *, with_middle: bool) -> dict[str, float]:
        """Return a round's figures: CPU seconds of a token and of a reply, seconds to the first token."""
        figures = {}
        for count in counts:
            long_s, _ = self.cost(contender, count, LONG)
            short_s, _ = self.cost(contender, count, SHORT)
            figures[f"token, {count} streams"] = slope(long_s, short_s, LONG - SHORT)
            if with_middle:
                middle_s, streams = self.cost(contender, count, MIDDLE)
                figures[f"reply of 100 tokens, {count} streams"] = middle_s / MIDDLE
                figures |= first_tokens(streams, count)
        if with_middle:
            figures |= first_tokens(self.cost(contender, 200, MIDDLE)[1], 200)
        return figures


def first_tokens(streams: Streams, count: int) -> dict[str, float]:
    return {f"first token p{percent}, {count} at once": streams.first_token_s(percent) for percent in (50, 99)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, without FastAPI and without replies of 100 tokens")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, nargs="+", default=[50, 500], help="how many at once")
    parser.add_argument("--requests", type=int, default=200, help="of each kind and round")
    parser.add_argument("--without-fastapi", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--write-baseline", action="store_true", help="make these ratios the ones to compare with from now on")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    take_load_processors()
    if len(PROCESSORS) == 1:
        print("This machine has one processor, which the load generator uses too, so the figures are not reliable.")
    with ExitStack() as parts:
        upstream, metronome_pid = parts.enter_context(metronome())
        base = start_postgres()
        ours = parts.enter_context(our_service(base, upstream))
        relay = parts.enter_context(nginx(upstream))
        usual = None if options.quick or options.without_fastapi else parts.enter_context(fastapi(base, upstream))
        contenders = [contender for contender in (relay, ours, usual) if contender]
        run = Run(metronome_pid)
        for contender in contenders:
            run.cost(contender, 20, SHORT)  # what is only loaded once
        common = CommonRequests(ours.port, ours.workers[0])
        common.measure(10)
        results = []
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            of_round = {
                contender.name: run.measure(contender, options.streams, with_middle=not options.quick)
                for contender in contenders
            }
            of_round["requests"] = {name: cpu_s for name, (cpu_s, _) in common.measure(options.requests).items()}
            results.append(of_round)
    show(results, run, options)


def show(results: list[dict[str, dict[str, float]]], run: Run, options: argparse.Namespace) -> None:
    medians = {name: median_figures([of_round[name] for of_round in results]) for name in results[0]}
    requests = medians.pop("requests")
    print_figures(medians)
    print("\n" + "   ".join(f"{name} {cpu_s * 1000:.2f} ms" for name, cpu_s in requests.items()) + "   (CPU of a request)\n")
    ratios = median_figures([round_ratios(of_round) for of_round in results])
    for line in table(ratios, read_baseline()):
        print(line)
    print(
        f"\nload: the generator took at most {run.generator_share:.0%} of a processor; "
        f"the processors beside the server were busy for at most {run.busy_share:.0%} of the time"
    )
    if run.crowded_runs:
        print(
            f"warning: in {run.crowded_runs} of {run.runs} runs the load was the bottleneck, or something else kept its "
            f"processors busy for more than {BOTTLENECK:.0%} of the time"
        )
    for warning in run.warnings:
        print(f"warning: {warning}")
    for warning in worse_than(read_baseline(), ratios):
        print(f"warning: worse than the baseline: {warning}")
    if options.json:
        load = {
            "generator": run.generator_share,
            "busy": run.busy_share,
            "runs": run.runs,
            "crowded_runs": run.crowded_runs,
        }
        everything = {
            "machine": machine(),
            "medians": {**medians, "requests": requests},
            "ratios": ratios,
            "rounds": results,
            "load": load,
            "warnings": run.warnings,
        }
        options.json.write_text(json.dumps(everything, indent=2) + "\n")
    if options.write_baseline and run.warnings:
        print("The baseline is unchanged: some streams were refused or broke, so the ratios are of no use to later runs.")
    elif options.write_baseline:
        write_baseline(ratios)


def round_ratios(of_round: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the ratios that a baseline can hold: CPU time to CPU time."""
    ours = {name: figure for name, figure in of_round["this service"].items() if not name.startswith("first token")}
    ratios: dict[str, float] = {}
    for other in ("nginx", "FastAPI"):
        ratios |= ratios_of(ours, of_round.get(other, {}), other)
    return ratios | ratios_to_one(of_round["requests"], "health")


def print_figures(medians: dict[str, dict[str, float]]) -> None:
    print(f"{'':50}" + "".join(f"{name:>16}" for name in medians))
    for figure in medians["this service"]:
        cells = []
        for figures in medians.values():
            value = figures.get(figure)
            text = "–" if value is None else f"{value * 1000:.0f} ms" if figure.startswith("first") else f"{value * 1e6:.1f} µs"
            cells.append(f"{text:>16}")
        unit = " (CPU per token)" if figure.startswith("reply") else " (CPU)" if figure.startswith("token") else ""
        print(f"{figure + unit:50}" + "".join(cells))


if __name__ == "__main__":
    main()
