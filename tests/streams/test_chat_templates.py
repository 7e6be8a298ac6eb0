"""llama.cpp with chat templates as strict as Mistral's and Gemma's accepts every history that the service sends."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2.exceptions import TemplateError

from devstack import language_model
from devstack.folder import PROJECT
from devstack.processes import free_port
from tests.conftest import StartServer
from tests.support.chat_templates import TEMPLATES, render
from tests.support.client import Client
from tests.support.server import Server
from tests.support.waiting import wait_until

REFUSED = [["assistant", "user"], ["user", "user"], ["system", "assistant", "user"]]
START_LIMIT_S = 60.0
END_LIMIT_S = 10.0
ALWAYS_THE_SAME = {"temperature": 0, "top_k": 1}
needs_model = pytest.mark.skipif(language_model.weights() is None, reason="the small language model is not installed")


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("roles", REFUSED)
def test_the_templates_refuse_other_histories(name: str, roles: list[str]) -> None:
    with pytest.raises(TemplateError, match="alternate"):
        render(TEMPLATES[name], [{"role": role, "content": "text"} for role in roles])


@pytest.fixture(scope="module", params=["mistral", pytest.param("gemma", marks=pytest.mark.exhaustive)])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real model with this template."""
    folder = tmp_path_factory.mktemp("model")
    template, log = folder / "template.jinja", folder / "log"
    template.write_text(TEMPLATES[request.param])
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "devstack.language_model", "--port", str(port), "--chat-template", str(template)]
    with log.open("wb") as output, subprocess.Popen(command, cwd=PROJECT, stdout=output, stderr=output) as process:
        try:
            wait_until(lambda: process.poll() is not None or is_ready(address), "the model is ready", START_LIMIT_S)
            assert process.poll() is None, tail_of(log)
            yield address
        finally:
            process.terminate()
            process.wait(END_LIMIT_S)


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=10):
            return True
    except OSError:
        return False


def tail_of(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


def status_of(address: str, roles: list[str]) -> int:
    """Send messages of these roles to the model itself and return the status of its answer."""
    body = {"messages": [{"role": role, "content": "text"} for role in roles], "max_tokens": 1}
    content = json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/v1/chat/completions", content, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code


@pytest.fixture(scope="module")
def service(model: str, new_server: StartServer) -> Iterator[Server]:
    settings = {"INFERENCE_PROTOCOL": "openai", "SYSTEM_PROMPT": "Answer in one sentence.", "MAX_CONVERSATION_HISTORY": "6"}
    with new_server(INFERENCE_SERVICE_URL=model, **settings) as server:
        yield server


@needs_model
@pytest.mark.slow
# From the second turn on, the history is longer than what is sent.
@pytest.mark.parametrize("turns", [2, pytest.param(5, marks=pytest.mark.exhaustive)])
def test_a_real_model_accepts_every_turn(model: str, client: Client, conversation: str, turns: int) -> None:
    assert status_of(model, ["system", "user", "assistant", "user"]) == 200
    for roles in REFUSED:
        assert status_of(model, roles) == 400
    path = f"/api/conversations/{conversation}/messages"
    for turn in range(turns):
        client.send(conversation, f"Name a colour, please ({turn}).", max_tokens=8, **ALWAYS_THE_SAME).finish()
        # A stop before the first token, and one after it.
        client.open("POST", path, {"content": "Tell me a tale."}, {"Prefer": "respond-async"})
        ended = client.stop(conversation).json
        # The model may have ended by itself before, with nothing to say.
        assert ended["status"] == "stopped" or ended["error_code"] == "no_answer", (ended["status"], ended["error_code"])
        tale = client.send(conversation, "Tell me a very long tale.", max_tokens=500, **ALWAYS_THE_SAME)
        tale.read_object()
        client.stop(conversation)
        tale.finish()
        client.regenerate(conversation, max_tokens=8, **ALWAYS_THE_SAME).finish()
    shown = client.messages(conversation)
    assert len(shown) == turns * 7
    # A model that has nothing to say has accepted the history, too.
    failed = [message for message in shown if message["status"] not in ("complete", "stopped", "user")]
    assert [message for message in failed if message["error_code"] != "no_answer"] == []
