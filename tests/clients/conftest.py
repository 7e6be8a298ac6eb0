"""Client libraries that others wrote, in their own language, against the real server."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page

from tests.clients.node import NodeScript, why_missing
from tests.clients.pages import serving_page
from tests.conftest import StartServer
from tests.support.browser import open_browser
from tests.support.client import Client

StartScript = Callable[..., NodeScript]
OpenPage = Callable[..., Page]


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


@pytest.fixture
def open_page(node: None, tmp_path: Path, new_server: StartServer, client: Client) -> Iterator[OpenPage]:
    """Show the page of a module of this folder, from another address than the service's, which is started for it."""
    with ExitStack() as until_the_end:

        def show(module: str, settings: Mapping[str, str] | None = None, **options: str) -> Page:
            address = until_the_end.enter_context(serving_page(module, tmp_path))
            service = until_the_end.enter_context(new_server(FRONTEND_URL=address, **(settings or {})))
            page = until_the_end.enter_context(open_browser()).new_page()
            where = {"address": f"http://127.0.0.1:{service.port}", "token": client.token, **options}
            page.goto(f"{address}/?{urlencode(where)}")
            return page

        yield show
