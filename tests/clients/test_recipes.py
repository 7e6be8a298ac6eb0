"""The code of docs/clients.md does what it says."""

import os
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Route

from devstack.folder import PROJECT
from tests.clients.node import FOLDER, why_missing, why_node_is_missing
from tests.support.browser import chromium, open_browser
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import done, endless, hang_up, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

BLOCK = re.compile(r"^```(js browser|js|ts|python|answer)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SEPARATOR = "--- the next example ---"
PACKAGE = "@microsoft/fetch-event-source"


def examples(kind: str, page: Path = PROJECT / "docs" / "clients.md") -> list[tuple[str, str]]:
    """Return a page's code blocks of a kind with what they print. Blocks without an answer print nothing."""
    blocks = [*BLOCK.findall(page.read_text()), ("", "")]
    return [(code, answer if after == "answer" else "") for (found, code), (after, answer) in pairwise(blocks) if found == kind]


def test_the_recipes_for_node_print_what_the_page_says(
    service: Server, client: Client, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    if reason := why_node_is_missing():
        pytest.skip(reason)
    upstream.script(tokens("break"), hang_up(), when="break off")
    upstream.script(endless("1 "), when="count to a million")
    followed = upstream.gate()
    upstream.script(tokens("1 "), hold(followed), tokens("2"), done(), when="count slowly")
    found = examples("js")
    assert len(found) > 7
    script = tmp_path / "recipes.mjs"
    script.write_text(f"console.log({SEPARATOR!r});\n".join(_with_modules(code) for code, _ in found))
    environment = {**os.environ, "BASE": f"http://127.0.0.1:{service.port}", "TOKEN": client.token or ""}
    process = subprocess.Popen(
        ["node", str(script)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=FOLDER
    )
    try:
        # The reply that two tabs follow goes on when the second send has been refused.
        wait_until(lambda: _is_refused(service) or process.poll() is not None, "the second tab's send is refused")
        followed.open()
        output, problems = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, problems
    printed = [part.strip() for part in output.split(SEPARATOR)]
    assert printed == [answer.strip() for _, answer in found]


def _with_modules(code: str) -> str:
    return re.sub(r'"\./(\w+\.js)"', lambda name: f'"{(PROJECT / "examples" / name[1]).as_uri()}"', code)


def _is_refused(service: Server) -> bool:
    return any(line.get("status") == 409 for line in service.log_lines())


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="chromium is not installed (apt-get install chromium)")
@pytest.mark.parametrize(("code", "answer"), examples("js browser"), ids=["EventSource", "fetch-event-source"])
def test_the_recipes_for_browsers_print_what_the_page_says(service: Server, client: Client, code: str, answer: str) -> None:
    if PACKAGE in code and (reason := why_missing()):
        pytest.skip(reason)
    address = f"http://127.0.0.1:{service.port}"
    with open_browser() as browser:
        page = browser.new_page()
        page.route(f"{address}/packages/**", _serve_package)
        page.goto(f"{address}/api/health")
        chat = f"/api/conversations/{client.create_conversation()}"
        code = re.sub(r'import ({.*?}) from "(.*?)";', r"const \1 = await import(`${BASE}/packages/\2`);", code)
        # An EventSource must have stopped by itself.
        printed = page.evaluate(
            f"""async ([BASE, TOKEN, chat]) => {{
                const printed = [], console = {{ log: (...parts) => printed.push(parts.join(" ")) }};
                {code}
                const isOpen = () => typeof source !== "undefined" && source.readyState !== EventSource.CLOSED;
                while (!printed.length || isOpen()) await new Promise((resume) => setTimeout(resume, 20));
                return printed;
            }}""",
            [address, client.token, chat],
        )
        assert printed == answer.strip().splitlines()
        messages = client.get(chat)["messages"]
        assert [message["content"] for message in messages] == ["hello there", "hello there"]


def _serve_package(route: Route) -> None:
    name = route.request.url.partition("/packages/")[2]
    path = (
        FOLDER
        / "node_modules"
        / (f"{PACKAGE}/lib/esm/index.js" if name == PACKAGE else f"{PACKAGE}/lib/esm/{Path(name).name}.js")
    )
    route.fulfill(path=path, content_type="text/javascript")
