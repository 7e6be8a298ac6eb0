"""`useChat` in Chromium, with a reload in mid-reply."""

import subprocess
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlencode

import pytest

from tests.clients.node import FOLDER
from tests.conftest import StartServer
from tests.support.browser import chromium, open_browser
from tests.support.client import Client
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="chromium is not installed (apt-get install chromium)"),
]
PAGE = '<!doctype html><meta charset="utf-8"><title>Chat</title><body><script type="module" src="page.js"></script>'
BUNDLE_LIMIT_S = 60


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page_address(node: None, tmp_path: Path) -> Iterator[str]:
    """The address of the page, which is not the service's."""
    bundle = [FOLDER / "node_modules" / ".bin" / "esbuild", "use_chat.mjs", "--bundle", "--format=esm", "--log-level=error"]
    options = [f"--outfile={tmp_path / 'page.js'}", '--define:process.env.NODE_ENV="production"']
    subprocess.run([*bundle, *options], cwd=FOLDER, check=True, timeout=BUNDLE_LIMIT_S)
    (tmp_path / "index.html").write_text(PAGE)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(tmp_path))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_page_is_reloaded_in_mid_reply(
    page_address: str, new_server: StartServer, client: Client, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("Hello", " wörld"), hold(gate), tokens(" 👩‍👩‍👧", " end"), done())
    with new_server(FRONTEND_URL=page_address) as service, open_browser() as browser:
        page = browser.new_page()
        options = {"address": f"http://127.0.0.1:{service.port}", "token": client.token, "chatId": "kitchen"}
        page.goto(f"{page_address}/?{urlencode(options)}")
        page.get_by_text("ready", exact=True).wait_for()
        page.get_by_role("button", name="Send").click()
        page.get_by_text("Hello wörld", exact=True).wait_for()
        page.reload()
        page.get_by_text("Hello wörld", exact=True).wait_for()
        gate.open()
        page.get_by_text("Hello wörld 👩‍👩‍👧 end", exact=True).wait_for()
        page.get_by_text("ready", exact=True).wait_for()
        assert page.locator("p").all_inner_texts() == ["hi there", "Hello wörld 👩‍👩‍👧 end"]
    assert len(upstream.generations()) == 1
