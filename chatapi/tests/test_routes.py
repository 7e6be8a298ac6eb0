"""What surfaces declare of their routes."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.http import HttpResponse
from django.urls import include, path

from chatapi.incoming.request_bodies import body_limit
from chatapi.incoming.routes import begins_reply, is_probe, may_bring_history, paths_with_history, route

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def _another_surface(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a surface that exists in this test only: a module of paths, and one line."""

    def view(request: object, **ids: str) -> HttpResponse:
        return HttpResponse("made by the view")

    def shape_response(response: Any) -> None:
        response["X-Form"] = "its own"

    surface = ModuleType("another_surface")
    surface.shape_response = shape_response  # type: ignore[attr-defined]
    surface.urlpatterns = [  # type: ignore[attr-defined]
        route("alive", view, is_probe=True),
        route("chats/<str:chat_id>/send", view, begins_reply="POST", may_bring_history=True),
        route("import", view, may_bring_history=True),
        path("chats/<str:chat_id>/stop", view),
    ]
    root = ModuleType("another_root")
    root.urlpatterns = [path("another/", include(surface))]  # type: ignore[attr-defined]
    root.handler404 = "chatapi.api.errors.page_not_found"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "another_root", root)
    settings.ROOT_URLCONF = "another_root"


@pytest.mark.parametrize(
    ("method", "asked", "expected"),
    [
        ("POST", "/another/chats/17/send", True),
        ("POST", "/another/chats/17/send/", True),
        ("GET", "/another/chats/17/send", False),
        ("POST", "/another/chats/17/stop", False),
        ("POST", "/another/chats/17/18/send", False),
        ("POST", "/elsewhere/another/chats/17/send", False),
    ],
)
@pytest.mark.usefixtures("_another_surface")
def test_a_surface_says_which_requests_begin_replies(method: str, asked: str, expected: bool) -> None:
    assert begins_reply(method, asked) is expected


@pytest.mark.usefixtures("_another_surface")
def test_a_surface_says_which_paths_are_probes_and_which_bodies_may_be_large(settings: Any) -> None:
    assert [is_probe(each) for each in ("/another/alive", "/another/alive/", "/another/import")] == [True, True, False]
    assert may_bring_history("/another/import")
    assert body_limit("/another/import/") == settings.MAX_BODY_WITH_HISTORY
    assert body_limit("/another/alive") == settings.DATA_UPLOAD_MAX_MEMORY_SIZE


@pytest.mark.usefixtures("_another_surface")
def test_a_surface_gives_its_form_to_all_responses_below_its_prefix(client: Any) -> None:
    assert client.get("/another/alive", headers={"host": "any.name"}).headers["X-Form"] == "its own"
    missing = client.get("/another/nothing")
    assert (missing.status_code, missing.headers["X-Form"]) == (404, "its own")
    assert "X-Form" not in client.get("/nothing").headers


def test_what_the_service_s_surfaces_declare() -> None:
    assert paths_with_history() == {"/api/v1/chat/stream", "/api/chat", "/v1/chat/completions", "/v1/responses"}
    assert all(map(is_probe, ("/health", "/api/health", "/api/ready")))
    message = "/api/conversations/1/messages/2"
    sends = [
        "/api/conversations/1/messages",
        "/api/conversations/1/regenerate",
        f"{message}/regenerate",
        f"{message}/continue",
        "/conversations/1/messages",
        "/conversation/completion/1",
        *paths_with_history(),
    ]
    assert [each for each in sends if not begins_reply("POST", each)] == []
    assert begins_reply("PUT", message)
    others = ["/api/conversations", "/api/conversations/1/fork", f"{message}/activate", "/v1/conversations/1/items"]
    assert [each for each in others if begins_reply("POST", each)] == []


def test_a_new_protocol_needs_only_its_line() -> None:
    """The settings accept each protocol that is registered, and name it when they refuse another."""
    script = (
        "import os, inference_proxy.protocols as protocols\n"
        "protocols.PROTOCOLS['mine'] = protocols.PROTOCOLS['openai']\n"
        "from chatapi import settings\n"
        "print(settings.INFERENCE_PROTOCOL)\n"
    )
    environment = {"SECRET_KEY": "only-for-checks-8f2c1d7a5e9b4036a1c7d9e2f4b6a8c0d3e5", "INFERENCE_PROTOCOL": "mine"}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, cwd=PROJECT, capture_output=True, text=True)
    assert (ran.stdout.strip(), ran.stderr) == ("mine", "")
