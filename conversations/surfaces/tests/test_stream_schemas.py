"""What streams send is what the OpenAPI file says that they send."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
import yaml
from jsonschema import Draft202012Validator

from conversations.surfaces.ai_sdk.stream_format import UIMessageEncoder, ui_message_stream
from conversations.surfaces.openai.chat.chunks import CompletionChunks
from conversations.surfaces.openai.tests.test_events import SCRIPTS, Reply
from devstack.folder import PROJECT
from inference_proxy.exceptions import UpstreamBusy
from inference_proxy.replies.frames import Frame, closing_frames
from inference_proxy.replies.transcript import Transcript

REPLY_ID = UUID("01920000-0000-7000-8000-000000000001")


@pytest.fixture(scope="module")
def components() -> Any:
    return yaml.load((PROJECT / "docs" / "openapi.yaml").read_text(), yaml.CSafeLoader)["components"]


def check(name: str, sent: list[Any], components: Any) -> None:
    validator = Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components})
    for event in sent:
        problems = [problem.message for problem in validator.iter_errors(event)]
        assert problems == [], event


def frames(script: str, status: str = "failed") -> list[Frame]:
    """Return the frames of a reply whose model said this: R a piece of reasoning, T a piece of text."""
    transcript = Transcript()
    for channel in script:
        if channel == "R":
            transcript.append_reasoning("Hm ")
        else:
            transcript.append(b'{"token":"yes "}', "yes ")
    end = {"token_count": 2, "inference_time_ms": 41, "finish_reason": ""}
    failure = UpstreamBusy(retry_after_s=7) if status == "failed" else None
    transcript.close(closing_frames(message_id=REPLY_ID, status=status, failure=failure, **end))
    return transcript.follow().read(1.0)


@pytest.mark.parametrize("script", SCRIPTS)
def test_frames(script: str, components: Any) -> None:
    check("StreamEvent", [orjson.loads(payload) for _, payload in frames(script)], components)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("status", ["complete", "failed", "stopped"])
def test_events_of_a_response(script: str, status: str, components: Any) -> None:
    check("OpenAIResponseStreamEvent", Reply(script, status).events(), components)


@pytest.mark.parametrize("script", SCRIPTS)
def test_ui_messages(script: str, components: Any) -> None:
    encoder = UIMessageEncoder()
    said = ui_message_stream(REPLY_ID).greeting + b"".join(map(encoder.encode, frames(script)))
    sent = [line.removeprefix(b"data: ") for line in said.split(b"\n") if line.startswith(b"data: ")]
    assert sent.pop() == b"[DONE]"
    check("UIMessageEvent", list(map(orjson.loads, sent)), components)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("status", ["complete", "failed", "stopped", "interrupted"])
def test_chunks_of_a_completion(script: str, status: str, components: Any) -> None:
    row = {
        "id": REPLY_ID,
        "created_at": datetime(2026, 11, 20, tzinfo=UTC),
        "model_tag": None,
        "finish_reason": None,
        "prompt_tokens": 3,
        "token_count": 2,
    }
    chunks = CompletionChunks(row, lambda: row)
    said = chunks.greeting() + b"".join(map(chunks.encode, frames(script, status)))
    sent = [line.removeprefix(b"data: ") for line in said.split(b"\n") if line.startswith(b"data: ")]
    assert sent.pop() == b"[DONE]"
    check("OpenAIChunkStreamEvent", list(map(orjson.loads, sent)), components)
