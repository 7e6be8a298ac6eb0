"""The platform's own protocol: bodies and events."""

import json
from typing import Any

import orjson
import pytest
from django.conf import settings

from inference_proxy.exceptions import UpstreamError
from inference_proxy.protocols.base import Delta, GenerationRequest, Sampling
from inference_proxy.protocols.nanochat import ACKNOWLEDGEMENT, FOLDING_RESERVE_CHARACTERS, Nanochat, fold_system_messages


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
        ("S" * 7997, [user("x")], [user("S" * 7997 + "\n\nx")]),
        ("S" * 7998, [user("x")], [user("S" * 7998), assistant(ACKNOWLEDGEMENT), user("x")]),
        ("S", [user("x" * 8000)], [user("S"), assistant(ACKNOWLEDGEMENT), user("x" * 8000)]),
        (
            "S",
            [system("T"), user("x" * 8000)],
            [user("S"), assistant(ACKNOWLEDGEMENT), user("T"), assistant(ACKNOWLEDGEMENT), user("x" * 8000)],
        ),
    ],
)
def test_system_text_is_folded_into_user_messages(
    prompt: str, messages: list[dict[str, str]], folded: list[dict[str, str]]
) -> None:
    assert fold_system_messages(prompt, messages) == folded


@pytest.mark.parametrize("prompt_length", [1, 100, 7999, 8000])
@pytest.mark.parametrize("length", [1, 7990, 7997, 7998, 7999, 8000])
def test_nothing_is_cut_and_no_message_is_too_long(prompt_length: int, length: int) -> None:
    messages = fold_system_messages("S" * prompt_length, [user("x" * length)])
    assert max(len(message["content"]) for message in messages) <= 8000
    assert [message["role"] for message in messages] == ["user", "assistant", "user"][-len(messages) :]
    sent = "".join(message["content"] for message in messages if message["role"] == "user")
    assert sent.replace("\n\n", "") == "S" * prompt_length + "x" * length


def test_what_folding_adds_fits_into_its_reserve() -> None:
    system_texts, length = 40, 8_000
    messages = [system("T"), user("x" * length)] * system_texts
    added = sum(len(message["content"]) for message in fold_system_messages("", messages)) - system_texts * (length + 1)
    assert added <= FOLDING_RESERVE_CHARACTERS


@pytest.mark.parametrize(
    ("event", "text", "is_end", "is_relayed"),
    [
        ({"token": "hello", "gpu": 0}, "hello", False, True),
        ({"token": "", "gpu": 0}, "", False, False),
        ({"token": "🎈é"}, "🎈é", False, True),
        ({"done": True}, "", True, False),
        ({"done": True, "token": None}, "", True, False),
        ({"note": 1, "done": True}, "", True, False),
        ({"done": False}, "", False, False),
        ({"note": 1}, "", False, True),
        ({"token": None}, "", False, False),
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
    [
        b"Internal Server Error",
        b"[1]",
        b'"text"',
        b"{",
        b'{"token": ["a"]}',
        b'{"token": []}',
        b'{"token": "a", "error": "x"}',
        b"[" * 9999,
        b'{"error": "x"}',
        b"{}}",
    ],
)
def test_what_is_not_of_the_protocol(data: bytes) -> None:
    with pytest.raises(UpstreamError):
        Nanochat().read_event(data)


@pytest.mark.parametrize(
    ("token", "text"),
    [
        (b"1", "1"),
        (b"0", "0"),
        (b"-1.10", "-1.10"),
        (b"1e3", "1e3"),
        (b"true", "true"),
        (b"false", "false"),
        (b"9" * 30, "9" * 30),
    ],
)
def test_a_token_that_is_no_text_is_taken_as_it_is_written(token: bytes, text: str) -> None:
    delta = Nanochat().read_event(b'{"token": %b, "gpu": 0}' % token)
    assert (delta.text, orjson.loads(delta.payload or b"")) == (text, {"token": text, "gpu": 0})


@pytest.mark.parametrize(
    "data", [b"", b"ping", b"PING", b": ping", b"keep-alive", b"[PING]", b"null", b'""', b'"ping"', b"\xff"]
)
def test_keepalives_that_are_data_bring_nothing(data: bytes) -> None:
    assert Nanochat().read_event(data) == Delta()


@pytest.mark.parametrize("data", [b"[DONE]", b"[done]", b' "[DONE]"', b"[Done]\n"])
def test_forms_of_the_end_marker(data: bytes) -> None:
    assert Nanochat().read_event(data) == Delta(is_end=True)


def test_an_invalid_byte_costs_one_character() -> None:
    delta = Nanochat().read_event(b'{"token": "a\xffb", "gpu": 0}')
    assert (delta.text, orjson.loads(delta.payload or b"")) == ("a\ufffdb", {"token": "a\ufffdb", "gpu": 0})


def test_a_finish_reason_is_told_and_not_relayed() -> None:
    delta = Nanochat().read_event(b'{"done": true, "finish_reason": "MAX_TOKENS"}')
    assert (delta.payload, delta.is_end, delta.finish_reason, delta.finish_word) == (None, True, "length", "MAX_TOKENS")
    failed = Nanochat().read_event(b'{"token": "a", "finish_reason": "abort"}')
    assert (failed.text, failed.is_end, failed.has_failed) == ("a", True, True)


@pytest.mark.parametrize(
    "document", [{"token": "Yes"}, {"text": "Yes"}, {"response": "Yes", "model": "m"}, {"content": "Yes", "done": True}]
)
def test_a_document_is_a_reply(document: dict[str, Any]) -> None:
    protocol = Nanochat()
    deltas = [protocol.read_event(event) for event in protocol.events_of_document(json.dumps(document).encode())]
    assert "".join(delta.text for delta in deltas) == "Yes"
    assert any(delta.is_end for delta in deltas)


@pytest.mark.parametrize("done", [True, False, None])
def test_a_token_that_comes_with_the_end_is_relayed_without_it(done: bool | None) -> None:
    delta = Nanochat().read_event(json.dumps({"token": "end", "gpu": 0, "done": done}).encode())
    assert (delta.payload, delta.text, delta.is_end) == (b'{"token":"end","gpu":0}', "end", bool(done))


@pytest.mark.parametrize(("token", "kept"), [("a\\u0000b", "ab"), ("a\\ud800b", "ab"), ("\\ud83d\\ude00", "😀")])
def test_what_cannot_be_stored_is_removed(token: str, kept: str) -> None:
    delta = Nanochat().read_event(f'{{"token": "{token}", "gpu": 1}}'.encode())
    assert delta.text == kept
    assert orjson.loads(delta.payload or b"") == {"token": kept, "gpu": 1}


@pytest.mark.parametrize("token", ["\\u0000", "\\udfff\\ud800", "\\ud83d"])
def test_a_token_of_which_nothing_is_left_makes_no_frame(token: str) -> None:
    delta = Nanochat().read_event(f'{{"token": "{token}", "gpu": 1}}'.encode())
    assert (delta.payload, delta.text) == (None, "")


def test_an_emoji_in_two_tokens_is_joined() -> None:
    protocol = Nanochat()
    deltas = [protocol.read_event(b'{"token": "%b", "gpu": 0}' % half) for half in (rb"a\ud83d", rb"\ude00b")]
    assert [delta.text for delta in deltas] == ["a", "😀b"]
    assert [orjson.loads(delta.payload or b"") for delta in deltas] == [{"token": "a", "gpu": 0}, {"token": "😀b", "gpu": 0}]


@pytest.mark.parametrize(
    ("other", "relayed"),
    [
        (b'"score": NaN', {"token": "a", "score": None}),
        (b'"scores": [-Infinity, 1]', {"token": "a", "scores": [None, 1]}),
        (b'"score": 1e999', {"token": "a", "score": None}),
        (b'"note": "\\ud800"', {"token": "a"}),
        (b'"note": "\\ud800", "big": 123456789012345678901234567890', {"token": "a"}),
    ],
)
def test_what_clients_cannot_parse_is_not_relayed(other: bytes, relayed: dict[str, Any]) -> None:
    delta = Nanochat().read_event(b'{"token": "a", %b}' % other)
    assert delta.text == "a"
    # Stricter than Python's own parser, as browsers are.
    assert orjson.loads(delta.payload or b"") == relayed


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


def test_models_without_a_name_are_left_out() -> None:
    models = [{"model_tag": "d\u0000\ud80032", "loaded": True, "size": 7}, {"model_tag": 5}, {"loaded": False}, "d20", None]
    read = Nanochat().read_models({"current_model": ["d32"], "models": models})
    assert read == {"current_model": None, "models": [{"model_tag": "d32", "loaded": True, "size": 7}]}


def test_reasoning_has_a_frame_of_its_own() -> None:
    delta = Nanochat().read_event(b'{"reasoning": "Hm\\u0000m", "token": "Yes", "gpu": 0}')
    assert (delta.reasoning, delta.text, delta.payload) == ("Hmm", "Yes", b'{"token":"Yes","gpu":0}')
    alone = Nanochat().read_event(b'{"reasoning": "Hm"}')
    assert (alone.reasoning, alone.text, alone.payload) == ("Hm", "", None)
    strange = Nanochat().read_event(b'{"reasoning": ["Hm"], "token": "Yes"}')
    assert (strange.reasoning, strange.payload) == ("", b'{"token":"Yes"}')


def test_tags_are_split_off_over_several_tokens() -> None:
    protocol = Nanochat()
    tokens = ["<th", "ink>Hm", "m</think", ">\n\nYes", " <think>"]
    deltas = [protocol.read_event(json.dumps({"token": token, "gpu": 1}).encode()) for token in tokens]
    assert [(delta.reasoning, delta.text) for delta in deltas] == [
        ("", ""),
        ("Hm", ""),
        ("m", ""),
        ("", "Yes"),
        ("", " <think>"),
    ]
    assert [delta.payload for delta in deltas[:4]] == [None, None, None, b'{"token":"Yes","gpu":1}']
    # From here on, tokens are relayed byte for byte again.
    assert deltas[4].payload == b'{"token": " <think>", "gpu": 1}'


def test_what_was_held_back_of_the_text_comes_at_the_end() -> None:
    protocol = Nanochat()
    assert protocol.read_event(b'{"token": "<thi"}').payload is None
    assert protocol.flush().payload == b'{"token":"<thi"}'
    assert Nanochat().flush().payload is None


def test_tags_stay_where_they_are_not_wanted(settings: Any) -> None:
    settings.INFERENCE_THINK_TAGS = False
    delta = Nanochat().read_event(b'{"token": "<think>Hm</think>Yes"}')
    assert (delta.reasoning, delta.payload) == ("", b'{"token": "<think>Hm</think>Yes"}')
