"""The page at `/`: where TRY_PAGE is on, and nowhere else."""

import http.client
import re

import pytest

from chatapi.tests.test_environment import PROJECT, read_settings
from tests.support.server import Server
from tests.support.servers import StartServer

FILES = [f"page/{path.name}" for path in sorted((PROJECT / "examples" / "page").iterdir())]


def fetch(server: Server, path: str) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    found = (answer.status, answer.headers.get("Content-Security-Policy", ""), answer.read())
    connection.close()
    return found


def test_the_page_and_its_files_are_served_as_they_are(new_server: StartServer) -> None:
    with new_server(TRY_PAGE="true") as server:
        status, policy, page = fetch(server, "/")
        assert (status, page) == (200, (PROJECT / "examples" / "page" / "index.html").read_bytes())
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        for name in [*FILES, "stream.js"]:
            assert fetch(server, f"/static/examples/{name}")[::2] == (200, (PROJECT / "examples" / name).read_bytes())


def test_without_the_setting_there_is_no_page(open_service: Server) -> None:
    for path in ("/", "/static/examples/stream.js", "/static/examples/page/app.js"):
        status, _, body = fetch(open_service, path)
        assert status == 404, path
        assert b'"code":"not_found"' in body or path != "/"


@pytest.mark.parametrize(
    ("variables", "is_on"),
    [({}, False), ({"DEBUG": "true"}, True), ({"DEBUG": "true", "TRY_PAGE": "false"}, False), ({"TRY_PAGE": "true"}, True)],
)
def test_the_setting_follows_debug(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], is_on: bool) -> None:
    settings = read_settings(monkeypatch, variables)
    assert settings["TRY_PAGE"] is is_on
    assert bool(settings["STATICFILES_DIRS"]) is is_on


def test_the_page_has_nothing_inline_and_makes_no_html_of_text() -> None:
    folder = PROJECT / "examples" / "page"
    html = (folder / "index.html").read_text()
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*src=)", html)
    for script in folder.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script.read_text()), script
