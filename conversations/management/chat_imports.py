"""How import_history tells what it did."""

from collections.abc import Iterator
from dataclasses import asdict

from conversations.services.history.imports.foreign.importing import ChatImportResult
from conversations.services.history.imports.importing import ImportResult

MOST_PROBLEMS_SHOWN = 20


def row_sentences(result: ImportResult | ChatImportResult, verb: str, *, is_dry_run: bool) -> Iterator[str]:
    done = f"would be {verb}" if is_dry_run else verb
    handled = {"conversations": result.conversations, "messages": result.messages}
    if isinstance(result, ImportResult) and any(asdict(result.instructions).values()):
        handled["own instructions"] = result.instructions
    for name, rows in handled.items():
        yield f"{name}: {rows.inserted:,} {done}, {rows.present:,} already present, {rows.left_out:,} left out"


def sentences(result: ChatImportResult, *, is_dry_run: bool) -> Iterator[str]:
    yield from row_sentences(result, "imported", is_dry_run=is_dry_run)
    if result.not_taken:
        yield "not taken along:"
        for what, number in sorted(result.not_taken.items())[:MOST_PROBLEMS_SHOWN]:
            yield f"  {what}: {number:,}"
    if result.unreadable:
        yield f"cannot be read, left out: {result.unreadable:,}"
        for problem in result.problems[:MOST_PROBLEMS_SHOWN]:
            yield f"  {problem.path}: {problem.reason}"
        if result.unreadable > MOST_PROBLEMS_SHOWN:
            yield f"  … and {result.unreadable - MOST_PROBLEMS_SHOWN:,} more"
