"""docs/operating.md lists each limit, in the words of its declaration."""

import importlib
from pathlib import Path

import pytest

from chatapi.permits.limit import LIMITS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operating.md"
# Loaded by the server, not by the views.
OTHERS = (
    "chatapi.incoming.admission",
    "chatapi.incoming.request_bodies",
    "chatapi.incoming.unread_responses",
    "gunicorn_worker.connections",
)


@pytest.fixture(scope="module", autouse=True)
def _load_all_limits() -> None:
    for module in ("chatapi.urls", *OTHERS):
        importlib.import_module(module)


def rows() -> list[list[str]]:
    section = PAGE.read_text().split("\n## Limits\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[2:]]


def row_of(what: str) -> list[str]:
    found = [row for row in rows() if row[0] == what or row[0].startswith((f"{what},", f"{what};"))]
    assert len(found) == 1, f"docs/operating.md must have one row for the limit {what!r}"
    return found[0]


def test_the_page_has_a_row_for_each_limit() -> None:
    for what, limit in LIMITS.items():
        _, per, setting, refusal = row_of(what)
        assert per == limit.per, what
        assert all(f"`{name}`" in setting for name in limit.settings) and (limit.settings or setting.startswith("none")), what
        assert refusal.startswith(f"{limit.refusal.status} `{limit.refusal.code}`"), what


def test_each_row_is_a_limit() -> None:
    assert sorted(row[0] for row in rows()) == sorted(row_of(what)[0] for what in LIMITS)
