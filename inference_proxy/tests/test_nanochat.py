"""The platform's own protocol: bodies and events."""

import json
from typing import Any

import pytest
from django.conf import settings

from inference_proxy.exceptions import UpstreamError
from inference_proxy.protocols.base import GenerationRequest, Sampling
from inference_proxy.protocols.nanochat import Nanochat, fold_system_messages


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def system(content: str) -> dict[str, str]:
    return {"role": "system", "content": content}


def test_the_body_has_the_service_s_defaults() -> None:
    assert Nanochat().body(GenerationRequest([user("hi")])) == {
        "messages": [user("hi")],
        "temperature": 0.8,
        "max_tokens": 512,
        "top_k": 50,
    }


def test_zero_is_a_choice() -> None:
    body = Nanochat().body(GenerationRequest([user("hi")], sampling=Sampling(temperature=0, max_tokens=1, top_k=0)))
    assert (body["temperature"], body["max_tokens"], body["top_k"]) == (0, 1, 0)


def test_our_key_goes_along() -> None:
    assert Nanochat().headers() == {"X-Internal-API-Key": settings.INTERNAL_API_KEY}


@pytest.mark.parametrize(
    ("prompt", "messages", "folded"),
    [
        ("", [user("a")], [user("a")]),
        ("S", [user("a"), assistant("b"), user("c")], [user("S\n\na"), assistant("b"), user("c")]),
        ("S", [assistant("b"), user("c")], [assistant("b"), user("S\n\nc")]),
        ("S", [system("T"), user("a")], [user("S\n\nT\n\na")]),
        ("", [user("a"), system("T"), assistant("b"), user("c")], [user("a"), assistant("b"), user("T\n\nc")]),
        ("S", [user("x" * 8000)], [user("x" * 8000)]),
        ("S" * 100, [user("x" * 7990)], [user("S" * 8 + "\n\n" + "x" * 7990)]),
    ],
)
def test_system_text_is_folded_into_user_messages(
    prompt: str, messages: list[dict[str, str]], folded: list[dict[str, str]]
) -> None:
    assert fold_system_messages(prompt, messages) == folded


def test_folding_never_makes_a_message_too_long() -> None:
    for length in range(7990, 8001):
        [message] = fold_system_messages("S" * 9000, [user("x" * length)])
        assert len(message["content"]) <= 8000
        assert message["content"].endswith("x" * length)


@pytest.mark.parametrize(
    ("event", "text", "is_end", "is_relayed"),
    [
        ({"token": "hello", "gpu": 0}, "hello", False, True),
        ({"token": "", "gpu": 0}, "", False, True),
        ({"token": "🎈é"}, "🎈é", False, True),
        ({"done": True}, "", True, False),
        ({"done": True, "token": None}, "", True, False),
        ({"token": "end", "done": True}, "end", True, True),
        ({"note": 1}, "", False, True),
        ({"token": None}, "", False, True),
    ],
)
def test_events(event: dict[str, Any], text: str, is_end: bool, is_relayed: bool) -> None:
    data = json.dumps(event).encode()
    delta = Nanochat().read_event(data)
    assert (delta.text, delta.is_end) == (text, is_end)
    # Relayed as it came, byte for byte.
    assert delta.payload == (data if is_relayed else None)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"[1]", b"null", b'"text"', b"{", b'{"token": 7}', b'{"token": ["a"]}', b'{"error": "x"}', b"\xff", b"{}}"],
)
def test_what_is_not_of_the_protocol(data: bytes) -> None:
    with pytest.raises(UpstreamError):
        Nanochat().read_event(data)


@pytest.mark.parametrize(
    ("token", "kept"),
    [("a\\u0000b", "ab"), ("a\\ud800b", "ab"), ("\\u0000", ""), ("\\ud83d\\ude00", "😀"), ("\\udfff\\ud800", "")],
)
def test_what_cannot_be_stored_is_removed(token: str, kept: str) -> None:
    delta = Nanochat().read_event(f'{{"token": "{token}", "gpu": 1}}'.encode())
    assert delta.text == kept
    assert json.loads(delta.payload or b"") == {"token": kept, "gpu": 1}


def test_an_object_over_several_lines_is_relayed_on_one() -> None:
    delta = Nanochat().read_event(b'{"token":\n"a",\n"gpu": 0}')
    assert delta.payload is not None
    assert b"\n" not in delta.payload
    assert json.loads(delta.payload) == {"token": "a", "gpu": 0}
    note = Nanochat().read_event(b'{"note":\n1}')
    assert note.payload is not None
    assert json.loads(note.payload) == {"note": 1} and b"\n" not in note.payload


def test_a_stream_that_just_ends_is_not_whole() -> None:
    assert Nanochat().may_end_here() is False


def test_models_are_relayed() -> None:
    answer = {"current_model": "d32", "models": []}
    assert Nanochat().read_models(answer) == answer
