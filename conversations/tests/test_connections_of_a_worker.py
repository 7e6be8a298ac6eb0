"""How many connections to PostgreSQL a worker opens besides those for requests, and that the documents say so."""

import importlib
import re

import pytest

from devstack.folder import PROJECT

POOL = re.compile(r'SeparatePool\("[\w-]+", size=(\w+)')
PLACES = {
    "docs/operating.md": (
        r"> W × \(`DB_POOL_SIZE` \+ (\d+)\)",
        r"and up to (\d+) others",
        r"at least DB_POOL_SIZE \+ (\d+) per worker",
    ),
    "docs/configuration.md": (r"Up to (\d+) more per worker",),
}


def connections_of_a_worker() -> int:
    total = 0
    for path in PROJECT.glob("c*/**/*.py"):
        if "tests" in path.parts:
            continue
        for size in POOL.findall(path.read_text()):
            module = importlib.import_module(".".join(path.relative_to(PROJECT).with_suffix("").parts))
            total += int(size) if size.isdigit() else getattr(module, size)
    return total


@pytest.mark.parametrize("page", PLACES)
def test_the_documents_count_every_connection_of_a_worker(page: str) -> None:
    text = (PROJECT / page).read_text()
    said = [re.search(pattern, text) for pattern in PLACES[page]]
    assert [match and int(match[1]) for match in said] == [connections_of_a_worker()] * len(said)
