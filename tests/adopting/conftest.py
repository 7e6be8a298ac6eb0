from collections.abc import Iterator

import pytest

from tests.adopting.databases import predecessors_database


@pytest.fixture
def old_database() -> Iterator[str]:
    """The URL of a database as the predecessor left it."""
    with predecessors_database() as url:
        yield url
