"""Client libraries that others wrote, in their own language, against the real server."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.clients.node import NodeScript, why_missing

StartScript = Callable[..., NodeScript]


@pytest.fixture(scope="session")
def node() -> None:
    """Skip the test where Node or its packages are missing."""
    reason = why_missing()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def start_script(node: None) -> Iterator[StartScript]:
    """Start scripts of this folder by name, with arguments. They end with the test."""
    with ExitStack() as running:
        yield lambda name, *arguments: running.enter_context(NodeScript(name, *arguments))
