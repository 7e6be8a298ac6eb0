"""Chat completions: bodies and events."""

import json
from typing import Any

import pytest

from inference_proxy.exceptions import UpstreamError
from inference_proxy.protocols import new_protocol
from inference_proxy.protocols.base import GenerationRequest, Sampling
from inference_proxy.protocols.nanochat import Nanochat
from inference_proxy.protocols.openai import OpenAI

MESSAGES = [{"role": "user", "content": "hi"}]


def chunk(content: Any = None, finish_reason: Any = None, **more: Any) -> bytes:
    return json.dumps({"choices": [{"delta": {"content": content}, "finish_reason": finish_reason}], **more}).encode()


def test_the_protocol_is_chosen_by_its_name(settings: Any) -> None:
    settings.INFERENCE_PROTOCOL = "openai"
    assert isinstance(new_protocol(), OpenAI)
    settings.INFERENCE_PROTOCOL = "nanochat"
    assert isinstance(new_protocol(), Nanochat)


def test_the_body_leaves_out_what_was_not_chosen() -> None:
    assert OpenAI().body(GenerationRequest(MESSAGES)) == {
        "messages": MESSAGES,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_the_body_says_what_was_chosen() -> None:
    sampling = Sampling(temperature=0, max_tokens=9, top_k=0)
    body = OpenAI().body(GenerationRequest(MESSAGES, system_prompt="S", model_tag="m", sampling=sampling))
    assert body["messages"] == [{"role": "system", "content": "S"}, *MESSAGES]
    assert (body["model"], body["temperature"], body["max_tokens"], body["top_k"]) == ("m", 0, 9, 0)


@pytest.mark.parametrize("protocol", [OpenAI, Nanochat])
def test_the_operator_chooses_where_no_one_else_did(settings: Any, protocol: Any) -> None:
    settings.INFERENCE_DEFAULT_TEMPERATURE = 0.0
    settings.INFERENCE_DEFAULT_MAX_TOKENS = 1024
    settings.INFERENCE_DEFAULT_TOP_K = 40
    body = protocol().body(GenerationRequest(MESSAGES))
    assert (body["temperature"], body["max_tokens"], body["top_k"]) == (0.0, 1024, 40)
    chosen = protocol().body(GenerationRequest(MESSAGES, sampling=Sampling(temperature=1.5, max_tokens=9)))
    assert (chosen["temperature"], chosen["max_tokens"], chosen["top_k"]) == (1.5, 9, 40)


@pytest.mark.parametrize(("tag", "model"), [("", "configured"), ("default", "configured"), ("chosen", "chosen")])
def test_the_model(settings: Any, tag: str, model: str) -> None:
    settings.INFERENCE_MODEL = "configured"
    assert OpenAI().body(GenerationRequest(MESSAGES, model_tag=tag))["model"] == model


@pytest.mark.parametrize("key", ["", "a-key"])
def test_the_bearer_key(settings: Any, key: str) -> None:
    settings.INFERENCE_API_KEY = key
    assert OpenAI().headers().get("Authorization") == (f"Bearer {key}" if key else None)


@pytest.mark.parametrize(
    ("data", "text", "is_end", "reason"),
    [
        (chunk("hello"), "hello", False, ""),
        (chunk(""), "", False, ""),
        (chunk(None), "", False, ""),
        (chunk("last", "stop"), "last", False, "stop"),
        (chunk(None, "length"), "", False, "length"),
        (chunk(None, "x" * 30), "", True, ""),
        (chunk(None, "st\x00o\ud800p"), "", False, "stop"),
        (chunk(None, "null"), "", False, ""),
        (chunk(None, ""), "", False, ""),
        (chunk(None, 7), "", False, ""),
        (b'{"choices": []}', "", False, ""),
        (b'{"choices": null}', "", False, ""),
        (b"{}", "", False, ""),
        (b'{"choices": [{"delta": null}]}', "", False, ""),
        (b'{"choices": [{}]}', "", False, ""),
        (b"[DONE]", "", True, ""),
        (b" [DONE] ", "", True, ""),
        (b"[done]", "", True, ""),
        (b'"[DONE]"', "", True, ""),
        (b"", "", False, ""),
        (b"ping", "", False, ""),
        (chunk(7), "7", False, ""),
        (chunk(True), "true", False, ""),
        (b'{"choices": [{"delta": {"content": 1.50}}]}', "1.50", False, ""),
        (b'{"choices": [{"delta": "hello"}]}', "hello", False, ""),
        (b'{"choices": [{"delta": ""}]}', "", False, ""),
        (b'{"choices": [{"delta": "last", "finish_reason": "stop"}]}', "last", False, "stop"),
        (b'{"choices": [{"delta": ["hello", {"type": "text", "text": " you"}]}]}', "hello you", False, ""),
        (b'{"choices": [{"message": "hello"}]}', "hello", False, ""),
    ],
)
def test_events(data: bytes, text: str, is_end: bool, reason: str) -> None:
    delta = OpenAI().read_event(data)
    assert (delta.text, delta.is_end, delta.finish_reason) == (text, is_end, reason)
    assert delta.payload == (json.dumps({"token": text}, separators=(",", ":")).encode() if text else None)


@pytest.mark.parametrize(
    "data",
    [
        b'["x"]',
        b"Error",
        b'{"error": {"message": "x"}}',
        b'{"choices": {}}',
        b'{"choices": ["x"]}',
        b'{"choices": [{"delta": 7}]}',
        b'{"choices": [{"delta": [7]}]}',
        b'{"choices": [{"delta": {"content": [7]}}]}',
    ],
)
def test_what_is_not_of_the_protocol(data: bytes) -> None:
    with pytest.raises(UpstreamError):
        OpenAI().read_event(data)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 5}, (3, 5)),
        ({"prompt_tokens": "3", "completion_tokens": 5.5}, (3, None)),
        ({"prompt_tokens": "many", "completion_tokens": 5.0}, (None, 5)),
        ({"input_tokens": 3, "output_tokens": 5}, (3, 5)),
        ({"prompt_tokens": -1, "completion_tokens": 2**31}, (None, None)),
        ({"prompt_tokens": True, "completion_tokens": None}, (None, None)),
        ({"completion_tokens": 0}, (None, None)),
        (None, (None, None)),
        ("much", (None, None)),
    ],
)
def test_usage(usage: Any, tokens: tuple[int | None, int | None]) -> None:
    delta = OpenAI().read_event(json.dumps({"choices": [], "usage": usage}).encode())
    assert (delta.prompt_tokens, delta.completion_tokens) == tokens


@pytest.mark.parametrize("choices", [{"choices": []}, {"choices": None}, {}], ids=["empty", "null", "missing"])
def test_usage_comes_with_or_without_choices(choices: dict[str, Any]) -> None:
    delta = OpenAI().read_event(json.dumps({**choices, "usage": {"completion_tokens": 7}}).encode())
    assert delta.completion_tokens == 7


def test_an_emoji_in_two_tokens_is_joined() -> None:
    protocol = OpenAI()
    deltas = [protocol.read_event(chunk(content)) for content in ("a\ud83d", "\ude00b")]
    assert [(delta.text, delta.payload) for delta in deltas] == [("a", b'{"token":"a"}'), ("😀b", '{"token":"😀b"}'.encode())]


def test_an_invalid_byte_costs_one_character() -> None:
    assert OpenAI().read_event(b'{"choices": [{"delta": {"content": "a\xffb"}}]}').text == "a\ufffdb"


def test_half_an_emoji_makes_no_frame() -> None:
    delta = OpenAI().read_event(chunk("\ud83d"))
    assert (delta.text, delta.payload) == ("", None)


def test_a_nul_and_a_lone_surrogate_are_removed() -> None:
    delta = OpenAI().read_event(b'{"choices": [{"delta": {"content": "a\\u0000\\ud800b"}}]}')
    assert (delta.text, delta.payload) == ("ab", b'{"token":"ab"}')


def test_only_a_finish_reason_makes_an_end_without_done_whole() -> None:
    protocol = OpenAI()
    protocol.read_event(chunk("a"))
    assert protocol.may_end_here() is False
    protocol.read_event(chunk(None, "stop"))
    assert protocol.may_end_here() is True
    assert OpenAI().may_end_here() is False


def test_a_reason_that_comes_with_every_piece_is_no_end() -> None:
    protocol = OpenAI()
    for text in ("a", "b"):
        protocol.read_event(chunk(text, "STOP"))
    assert protocol.may_end_here() is False
    # Where the body of the answer is complete, the reason counts.
    assert protocol.may_end_here(is_clean=True) is True
    protocol = OpenAI()
    for text, reason in (("a", None), ("b", "stop"), ("c", None)):
        protocol.read_event(chunk(text, reason))
    assert protocol.may_end_here() is False


@pytest.mark.parametrize(
    "event",
    [
        {"choices": [{"delta": {}, "usage": {"completion_tokens": 7}, "index": 0, "finish_reason": None}]},
        {"choices": [], "x_groq": {"id": "x", "usage": {"completion_tokens": 7}}},
        {"choices": [], "timings": {"predicted_n": 7}},
        {"choices": [], "timings": {"predicted_n": 6}, "usage": {"completion_tokens": 7}},
    ],
)
def test_places_of_usage(event: dict[str, Any]) -> None:
    assert OpenAI().read_event(json.dumps(event).encode()).completion_tokens == 7


@pytest.mark.parametrize(
    "choice",
    [
        {"message": {"role": "assistant", "content": "Yes"}, "finish_reason": "stop"},
        {"message": "Yes", "finish_reason": "stop"},
        {"text": "Yes"},
        {"delta": {"content": "Yes"}},
        {"delta": "Yes"},
    ],
)
def test_a_document_is_a_reply(choice: dict[str, Any]) -> None:
    protocol = OpenAI()
    document = json.dumps({"choices": [choice], "usage": {"completion_tokens": 1}}).encode()
    deltas = [protocol.read_event(event) for event in protocol.events_of_document(document)]
    assert [(delta.text, delta.is_end) for delta in deltas] == [("Yes", False), ("", True)]


def test_a_document_that_is_an_error_is_no_reply() -> None:
    protocol = OpenAI()
    with pytest.raises(UpstreamError):
        protocol.read_event(protocol.events_of_document(b'{"detail": "Busy"}')[0])


@pytest.mark.parametrize(
    ("configured", "answer", "current", "loaded"),
    [
        ("", {"data": [{"id": "a"}, {"id": "b"}]}, "a", [True, False]),
        ("b", {"data": [{"id": "a"}, {"id": "b"}]}, "b", [False, True]),
        ("c", {"data": []}, "c", []),
        ("", {}, "", []),
        ("", {"data": "x"}, "", []),
        ("", {"data": [7, {"id": "a"}]}, "a", [True]),
        ("", {"data": ["a", {"name": "b"}, {"owner": "c"}]}, "a", [True, False]),
        ("", {"models": [{"name": "a", "model": "b"}]}, "a", [True]),
        ("", {"result": [{"id": 7, "name": "a"}], "success": True}, "a", [True]),
        ("", {"data": [{"id": "a\x00b"}]}, "ab", [True]),
    ],
)
def test_models(settings: Any, configured: str, answer: dict[str, Any], current: str, loaded: list[bool]) -> None:
    settings.INFERENCE_MODEL = configured
    models = OpenAI().read_models(answer)
    assert models["current_model"] == current
    assert [model["loaded"] for model in models["models"]] == loaded
    assert all(set(model) == {"model_tag", "source", "path", "loaded"} for model in models["models"])


def test_there_is_nothing_to_swap() -> None:
    assert OpenAI().swap_path is None


@pytest.mark.parametrize(
    ("delta", "reasoning", "text", "calls_tool"),
    [
        ({"reasoning": "Hm"}, "Hm", "", False),
        ({"reasoning_content": "Hm", "content": None}, "Hm", "", False),
        ({"reasoning_content": "", "reasoning": "Hm"}, "Hm", "", False),
        ({"reasoning": "a\x00\ud800b"}, "ab", "", False),
        ({"reasoning": ["Hm"]}, "", "", False),
        ({"content": [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Yes"}]}, "Hm", "Yes", False),
        ({"content": [{"type": "thinking", "thinking": [{"text": "H"}, 7, {"text": None}, {"text": "m"}]}]}, "Hm", "", False),
        ({"content": [{"type": "text", "text": None}, {"type": "image_url", "image_url": {}}, {}]}, "", "", False),
        ({"content": []}, "", "", False),
        ("Yes", "", "Yes", False),
        ("<think>Hm</think>Yes", "Hm", "Yes", False),
        ([{"type": "thinking", "thinking": "Hm"}, "Yes"], "Hm", "Yes", False),
        ({"content": "<think>Hm</think>Yes"}, "Hm", "Yes", False),
        ({"reasoning": "H", "content": "<think>m</think>Yes"}, "Hm", "Yes", False),
        ({"tool_calls": [{"index": 0}]}, "", "", True),
        ({"tool_calls": [], "function_call": None}, "", "", False),
        ({"function_call": {"name": "x"}}, "", "", True),
        ({"refusal": None, "content": "Yes"}, "", "Yes", False),
    ],
)
def test_channels(delta: Any, reasoning: str, text: str, calls_tool: bool) -> None:
    read = OpenAI().read_event(json.dumps({"choices": [{"delta": delta}]}).encode())
    assert (read.reasoning, read.text, read.calls_tool) == (reasoning, text, calls_tool)
    assert read.payload == (json.dumps({"token": text}, separators=(",", ":")).encode() if text else None)


def test_a_refusal_is_its_text_and_the_reason() -> None:
    protocol = OpenAI()
    first = protocol.read_event(b'{"choices": [{"delta": {"refusal": "I can\'t."}}]}')
    assert (first.text, first.finish_reason, protocol.may_end_here()) == ("I can't.", "refusal", False)
    last = protocol.read_event(chunk(None, "stop"))
    assert (last.finish_reason, protocol.may_end_here()) == ("refusal", True)
    part = OpenAI().read_event(chunk([{"type": "refusal", "refusal": "No."}]))
    assert (part.text, part.finish_reason) == ("No.", "refusal")


def test_what_was_held_back_comes_at_the_end() -> None:
    protocol = OpenAI()
    protocol.read_event(chunk("<think>Hm</thi"))
    assert (protocol.flush().reasoning, protocol.flush().text) == ("</thi", "")
    protocol = OpenAI()
    protocol.read_event(chunk(" <th"))
    assert protocol.flush().payload == b'{"token":" <th"}'


@pytest.mark.parametrize(
    ("base", "path"),
    [("http://m:1", "/v1"), ("https://m/v1", ""), ("https://m/v1beta/openai", ""), ("https://u:p@m/api/paas/v4", "")],
)
def test_only_a_base_url_without_a_path_gets_the_version(settings: Any, base: str, path: str) -> None:
    settings.INFERENCE_SERVICE_URL = base
    assert (OpenAI().path, OpenAI().models_path) == (f"{path}/chat/completions", f"{path}/models")


@pytest.mark.parametrize("is_sent", [True, False])
@pytest.mark.parametrize("protocol", [OpenAI, Nanochat])
def test_the_internal_key_is_sent_where_the_operator_says_so(settings: Any, protocol: Any, is_sent: bool) -> None:
    settings.INFERENCE_SEND_INTERNAL_KEY = is_sent
    assert ("X-Internal-API-Key" in protocol().headers()) is is_sent
