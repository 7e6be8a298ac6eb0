"""One writer, any number of readers at any offset."""

import json
import threading
from array import array
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import orjson
import pytest

from inference_proxy.protocols.tool_calls import ToolCall
from inference_proxy.replies.frames import START, Cursor, Frame, call_payload, cursor_of
from inference_proxy.replies.transcript import MAX_REPLY_CHARACTERS, MOST_BYTES_TAKEN, Transcript, TranscriptFollower
from tests.support.waiting import LIMIT_S

DONE: list[Frame] = [(None, b'{"done":true}')]


def transcript(*tokens: str, closed: bool = False) -> Transcript:
    written = Transcript()
    for token in tokens:
        written.append(json.dumps({"token": token, "gpu": 0}).encode(), token)
    written.wake()
    if closed:
        written.close(list(DONE))
    return written


def text_of(frames: list[Frame]) -> str:
    return "".join(json.loads(payload).get("token") or "" for _, payload in frames)


def read_to_end(follower: TranscriptFollower) -> list[Frame]:
    frames: list[Frame] = []
    while not follower.has_ended:
        new = follower.read(LIMIT_S)
        assert new, "the transcript fell silent"
        frames += new
    follower.close()
    return frames


def test_frames_carry_the_offset_after_them_in_code_points() -> None:
    follower = transcript("hé", "🎈", "👩‍💻", "e\u0301", closed=True).follow(Cursor(0))
    assert [offset for offset, _ in read_to_end(follower)] == [2, 3, 6, 8, None]


def test_payloads_are_unchanged() -> None:
    written = Transcript()
    written.append(b'{"token" : "a",  "gpu":3}', "a")
    written.wake()
    assert written.follow(Cursor(0)).read(LIMIT_S) == [(1, b'{"token" : "a",  "gpu":3}')]


TOKENS = ("Hé", "🎈🎈", "👩‍💻", "", "e\u0301!", "end")


@pytest.mark.parametrize("after", range(len("".join(TOKENS)) + 1))
def test_a_follower_resumes_anywhere(after: int) -> None:
    frames = read_to_end(transcript(*TOKENS, closed=True).follow(Cursor(after)))
    assert text_of(frames) == "".join(TOKENS)[after:]
    assert frames[-1] == DONE[0]
    offsets = [offset for offset, _ in frames if offset is not None]
    assert offsets == sorted(offsets)


def test_the_rest_of_a_frame_keeps_its_other_fields() -> None:
    [(offset, payload)] = transcript("abcdef").follow(Cursor(2)).read(LIMIT_S)
    assert (offset, json.loads(payload)) == (6, {"token": "cdef", "gpu": 0})


def test_a_follower_that_is_ahead_waits_for_what_it_lacks() -> None:
    written = transcript("abc")
    follower = written.follow(Cursor(5))
    assert follower.read(0) == []
    written.append(b'{"token":"defg"}', "defg")
    written.wake()
    assert follower.read(LIMIT_S) == [(7, b'{"token":"fg"}')]


def test_a_follower_that_is_ahead_of_the_end_gets_only_the_end() -> None:
    assert read_to_end(transcript("abc", closed=True).follow(Cursor(99))) == DONE


def test_the_sender_gets_frames_without_text_however_late_it_starts() -> None:
    written = transcript()
    written.append(b'{"note":1}', "")
    written.append(b'{"token":"a"}', "a")
    written.wake()
    assert written.follow(Cursor(0)).read(LIMIT_S) == [(0, b'{"note":1}'), (1, b'{"token":"a"}')]


def test_silence_is_an_empty_list() -> None:
    written = transcript("a")
    follower = written.follow(Cursor(0))
    assert follower.read(LIMIT_S)
    assert follower.read(0) == []
    assert follower.has_ended is False


def test_what_piled_up_comes_in_one_piece() -> None:
    written = transcript()
    follower = written.follow(Cursor(0))
    for token in "abc":
        written.append(json.dumps({"token": token}).encode(), token)
        written.wake()
    assert text_of(follower.read(LIMIT_S)) == "abc"


def test_the_end_comes_once_and_last() -> None:
    written = transcript("a")
    follower = written.follow(Cursor(0))
    written.append(b'{"token":"b"}', "b")
    written.close(list(DONE))
    frames = follower.read(LIMIT_S)
    assert (text_of(frames), frames[-1], follower.has_ended) == ("ab", DONE[0], True)


def test_a_follower_that_left_is_forgotten() -> None:
    written = transcript()
    follower = written.follow(Cursor(0))
    assert len(written._followers) == 1
    follower.close()
    follower.close()
    assert not written._followers


def test_it_is_followed_while_a_client_is_there() -> None:
    written = transcript()
    # Before the first follower it is on its way to the client that asked for it.
    assert written.is_followed
    present = {"first": True, "second": True}
    first = written.follow(START, is_present=lambda: present["first"])
    second = written.follow(START, is_present=lambda: present["second"])
    assert written.is_followed
    present["first"] = False
    assert written.is_followed
    present["second"] = False
    assert not written.is_followed
    present["second"] = True
    second.close()
    assert not written.is_followed
    first.close()
    assert not written.is_followed


# Text and reasoning as a model may mix them: R is reasoning, T text, a note has neither.
MIXED = [
    ("R", "Let me 🎈"),
    ("R", "think. "),
    ("T", "Hé"),
    ("", ""),
    ("R", "And e\u0301"),
    ("T", "🎈🎈"),
    ("T", "!"),
    ("R", "?"),
]
MIXED_TEXT = "".join(piece for channel, piece in MIXED if channel == "T")
MIXED_REASONING = "".join(piece for channel, piece in MIXED if channel == "R")


def add_mixed(written: Transcript, pieces: list[tuple[str, str]]) -> None:
    for channel, piece in pieces:
        if channel == "R":
            written.append_reasoning(piece)
        else:
            written.append(json.dumps({"token": piece} if piece else {"note": 1}).encode(), piece)
    written.wake()


def what_comes(frames: list[Frame], after: Cursor) -> tuple[str, str]:
    """Return the text and the reasoning of these frames. Each frame's id is the cursor after it."""
    text = reasoning = ""
    for event_id, payload in frames:
        item = json.loads(payload)
        text, reasoning = text + item.get("token", ""), reasoning + item.get("reasoning", "")
        if (cursor := cursor_of(event_id)) is not None:
            assert cursor == Cursor(after.text + len(text), after.reasoning + len(reasoning))
    return text, reasoning


def test_ids_show_the_reasoning_as_soon_as_there_is_some() -> None:
    written = transcript("ab")
    written.append_reasoning("cde")
    written.append(b'{"token":"f"}', "f")
    written.wake()
    ids = [str(event_id) for event_id, _ in written.follow().read(LIMIT_S)]
    assert ids == ["2", "2-3", "3-3"]


@pytest.mark.parametrize("text", range(len(MIXED_TEXT) + 1))
@pytest.mark.parametrize("reasoning", range(len(MIXED_REASONING) + 1))
def test_a_follower_resumes_anywhere_in_both_channels(text: int, reasoning: int) -> None:
    after = Cursor(text, reasoning)
    lacked = (MIXED_TEXT[text:], MIXED_REASONING[reasoning:])
    whole = Transcript()
    add_mixed(whole, MIXED)
    whole.close(list(DONE))
    assert what_comes(read_to_end(whole.follow(after)), after) == lacked
    # The same while it is written, one frame after the other.
    growing = Transcript()
    follower = growing.follow(after)
    frames = []
    for piece in MIXED:
        add_mixed(growing, [piece])
        frames += follower.read(0)
    growing.close(list(DONE))
    assert what_comes(frames + read_to_end(follower), after) == lacked


@pytest.mark.parametrize("most", range(4))
def test_many_frames_are_merged(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference_proxy.replies.transcript.MOST_SINGLE_FRAMES", most)
    for pieces in (MIXED, MIXED[1:], [piece for piece in MIXED if piece[0] == "T"]):
        text, reasoning = ("".join(piece for channel, piece in pieces if channel == wanted) for wanted in "TR")
        whole = Transcript()
        add_mixed(whole, pieces)
        for after in (Cursor(*lengths) for lengths in product(range(len(text) + 1), range(len(reasoning) + 1))):
            frames = whole.follow(after).take()
            assert what_comes(frames, after) == (text[after.text :], reasoning[after.reasoning :])


@pytest.mark.parametrize("after", [Cursor(0, 0), Cursor(0, 1003)])
def test_a_follower_takes_a_long_reply_in_pieces(after: Cursor) -> None:
    written = Transcript()
    for channel in "RTRT":
        add_mixed(written, [(channel, "word " * 200)] * 100)
    follower = written.follow(after)
    written.close(list(DONE))
    pieces = []
    while not follower.has_ended:
        pieces.append(follower.read(LIMIT_S))
        assert sum(len(payload) for _, payload in pieces[-1]) < MOST_BYTES_TAKEN + 10_000
    assert len(pieces) >= 400_000 // MOST_BYTES_TAKEN
    frames = [frame for piece in pieces for frame in piece]
    assert what_comes(frames, after) == (("word " * 40_000)[after.text :], ("word " * 40_000)[after.reasoning :])


def test_a_long_reply_comes_in_a_few_frames() -> None:
    written = Transcript()
    for channel in "RTRT":
        add_mixed(written, [(channel, "word ")] * 1000)
    frames = written.follow().take()
    assert [(str(event_id), len(orjson.loads(payload))) for event_id, payload in frames] == [
        ("0-5000", 1),
        ("5000-5000", 1),
        ("5000-10000", 1),
        ("10000-10000", 1),
    ]


def test_a_follower_that_is_ahead_in_one_channel_gets_the_other() -> None:
    whole = Transcript()
    add_mixed(whole, MIXED)
    whole.close(list(DONE))
    frames = read_to_end(whole.follow(Cursor(0, 999)))
    assert text_of(frames) == MIXED_TEXT
    assert all(
        cursor_of(event_id) in (None, Cursor(place, 999)) for (event_id, _), place in zip(frames, (2, 4, 5, 5), strict=True)
    )


def test_both_channels_count_for_the_longest_reply() -> None:
    written = transcript("a" * (MAX_REPLY_CHARACTERS // 2))
    written.append_reasoning("b" * (MAX_REPLY_CHARACTERS // 2))
    assert not written.is_full
    written.append_reasoning("c")
    assert written.is_full


def test_the_text_so_far() -> None:
    written = transcript("a", "é", "")
    assert (written.text(), written.length) == ("aé", 2)
    written.append(b"{}", "")
    written.append(b'{"token":"b"}', "b")
    assert (written.text(), written.text()) == ("aéb", "aéb")
    assert len(written._texts) == 1
    assert transcript().text() == ""


def test_followers_at_every_offset_while_it_is_written() -> None:
    words = [f"wörd{number} 🎈" for number in range(300)]
    whole = "".join(words)
    written = Transcript()
    started = threading.Barrier(7)

    def follow(after: int) -> str:
        follower = written.follow(Cursor(after))
        started.wait(LIMIT_S)
        return text_of(read_to_end(follower))

    def write() -> None:
        started.wait(LIMIT_S)
        for word in words:
            written.append(json.dumps({"token": word}).encode(), word)
            written.wake()
        written.close(list(DONE))

    offsets = [0, 1, 9, len(whole) // 2, len(whole) - 1, len(whole)]
    with ThreadPoolExecutor(7) as threads:
        texts = [threads.submit(follow, offset) for offset in offsets]
        threads.submit(write).result(LIMIT_S)
        assert [text.result(LIMIT_S) for text in texts] == [whole[offset:] for offset in offsets]


def test_the_text_is_a_prefix_while_others_join_it() -> None:
    words = [f"{number}," for number in range(3000)]
    whole = "".join(words)
    written = Transcript()
    ended = threading.Event()

    def join() -> list[Any]:
        wrong: list[Any] = []
        last = 0
        while not ended.is_set():
            text = written.text()
            if not whole.startswith(text) or len(text) < last:
                wrong.append(text)
            last = len(text)
        return wrong

    with ThreadPoolExecutor(3) as threads:
        joiners = [threads.submit(join) for _ in range(3)]
        for word in words:
            written.append(b"{}", word)
        ended.set()
        assert [joiner.result(LIMIT_S) for joiner in joiners] == [[], [], []]
    assert (written.text(), written.length) == (whole, len(whole))


@pytest.mark.parametrize("reasoning", [False, True])
def test_a_frame_that_does_not_fit_into_memory_leaves_no_text(monkeypatch: pytest.MonkeyPatch, reasoning: bool) -> None:
    class Full(array):  # type: ignore[type-arg]
        def append(self, _: int) -> None:
            raise MemoryError

    transcript = Transcript()
    transcript.append(b"first", "first")
    offsets = transcript._offsets
    transcript._offsets = Full("I", offsets)
    with pytest.raises(MemoryError):
        transcript.append_reasoning("lost") if reasoning else transcript.append(b"lost", "lost")
    transcript._offsets = offsets
    transcript.append(b"next", "next")
    assert (transcript.text(), transcript.reasoning()) == ("firstnext", "")
    assert [payload for _, payload in transcript.frames_from(0)[0]] == [b"first", b"next"]


CALLS = [ToolCall(f"call_{number}", "weather", "{}") for number in range(3)]


@pytest.mark.parametrize("known", range(4))
@pytest.mark.parametrize("has_reasoning", [False, True])
def test_calls_come_behind_all_else_and_are_resumed(known: int, has_reasoning: bool) -> None:
    written = transcript("abc")
    if has_reasoning:
        written.append_reasoning("hm")
    written.append_calls(CALLS)
    written.close(DONE)
    place = Cursor(3, 2 * has_reasoning)
    frames = [(place._replace(calls=number), call_payload(call)) for number, call in enumerate(CALLS, 1)]
    assert read_to_end(written.follow(place._replace(calls=known))) == [*frames[known:], *DONE]
    # A client that has read the row may know calls and lack text.
    assert read_to_end(written.follow(Cursor(1, 2 * has_reasoning)))[-5:-1] == [
        (3 if not has_reasoning else Cursor(3, 2), b'{"token":"bc","gpu":0}'),
        *frames,
    ]


def test_calls_behind_many_frames() -> None:
    written = transcript(*["a"] * 2000)
    written.append_calls(CALLS)
    written.close(DONE)
    frames = read_to_end(written.follow(Cursor(0)))
    assert [frame for frame, _ in frames] == [
        2000,
        *[Cursor(2000, 0, number) for number in (1, 2, 3)],
        *[end for end, _ in DONE],
    ]
