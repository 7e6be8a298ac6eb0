"""Client libraries that others wrote, in their own language, against the real server."""

from collections.abc import Callable, Iterator

import pytest

from tests.clients.node import NodeScript, why_missing

StartScript = Callable[..., NodeScript]


@pytest.fixture(scope="session")
def node() -> None:
    """Skip the test where Node or its packages are missing."""
    reason = why_missing()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def running_scripts(node: None) -> Iterator[dict[tuple[str, ...], NodeScript]]:
    running: dict[tuple[str, ...], NodeScript] = {}
    yield running
    for script in running.values():
        script.end()


@pytest.fixture
def start_script(running_scripts: dict[tuple[str, ...], NodeScript]) -> Iterator[StartScript]:
    """Start scripts of this folder by name, with arguments. A module shares them: Node takes long to load packages."""

    def start(*command: str) -> NodeScript:
        if command not in running_scripts:
            running_scripts[command] = NodeScript(*command)
        return running_scripts[command]

    yield start
    # A test that failed between a command and its answer must not leave the answer to the next test.
    for command, script in list(running_scripts.items()):
        if not script.has_answered:
            running_scripts.pop(command).end()
