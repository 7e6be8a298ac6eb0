"""One writer, any number of readers at any offset."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from inference_proxy.transcript import Frame, Transcript, TranscriptFollower
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
    follower = transcript("hé", "🎈", "👩‍💻", "e\u0301", closed=True).follow(after=0)
    assert [offset for offset, _ in read_to_end(follower)] == [2, 3, 6, 8, None]


def test_payloads_are_unchanged() -> None:
    written = Transcript()
    written.append(b'{"token" : "a",  "gpu":3}', "a")
    written.wake()
    assert written.follow(after=0).read(LIMIT_S) == [(1, b'{"token" : "a",  "gpu":3}')]


TOKENS = ("Hé", "🎈🎈", "👩‍💻", "", "e\u0301!", "end")


@pytest.mark.parametrize("after", range(len("".join(TOKENS)) + 1))
def test_a_follower_resumes_anywhere(after: int) -> None:
    frames = read_to_end(transcript(*TOKENS, closed=True).follow(after))
    assert text_of(frames) == "".join(TOKENS)[after:]
    assert frames[-1] == DONE[0]
    offsets = [offset for offset, _ in frames if offset is not None]
    assert offsets == sorted(offsets)


def test_the_rest_of_a_frame_keeps_its_other_fields() -> None:
    [(offset, payload)] = transcript("abcdef").follow(after=2).read(LIMIT_S)
    assert (offset, json.loads(payload)) == (6, {"token": "cdef", "gpu": 0})


def test_a_follower_that_is_ahead_waits_for_what_it_lacks() -> None:
    written = transcript("abc")
    follower = written.follow(after=5)
    assert follower.read(0) == []
    written.append(b'{"token":"defg"}', "defg")
    written.wake()
    assert follower.read(LIMIT_S) == [(7, b'{"token":"fg"}')]


def test_a_follower_that_is_ahead_of_the_end_gets_only_the_end() -> None:
    assert read_to_end(transcript("abc", closed=True).follow(after=99)) == DONE


def test_the_sender_gets_frames_without_text_however_late_it_starts() -> None:
    written = transcript()
    written.append(b'{"note":1}', "")
    written.append(b'{"token":"a"}', "a")
    written.wake()
    assert written.follow(after=0).read(LIMIT_S) == [(0, b'{"note":1}'), (1, b'{"token":"a"}')]


def test_silence_is_an_empty_list() -> None:
    written = transcript("a")
    follower = written.follow(after=0)
    assert follower.read(LIMIT_S)
    assert follower.read(0) == []
    assert follower.has_ended is False


def test_what_piled_up_comes_in_one_piece() -> None:
    written = transcript()
    follower = written.follow(after=0)
    for token in "abc":
        written.append(json.dumps({"token": token}).encode(), token)
        written.wake()
    assert text_of(follower.read(LIMIT_S)) == "abc"


def test_the_end_comes_once_and_last() -> None:
    written = transcript("a")
    follower = written.follow(after=0)
    written.append(b'{"token":"b"}', "b")
    written.close(list(DONE))
    frames = follower.read(LIMIT_S)
    assert (text_of(frames), frames[-1], follower.has_ended) == ("ab", DONE[0], True)


def test_a_follower_that_left_is_forgotten() -> None:
    written = transcript()
    follower = written.follow(after=0)
    assert len(written._followers) == 1
    follower.close()
    follower.close()
    assert not written._followers


def test_it_is_followed_while_a_client_is_there() -> None:
    written = transcript()
    # Before the first follower it is on its way to the client that asked for it.
    assert written.is_followed
    present = {"first": True, "second": True}
    first = written.follow(0, is_present=lambda: present["first"])
    second = written.follow(0, is_present=lambda: present["second"])
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
        follower = written.follow(after)
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


def test_the_text_is_a_prefix_whoever_joins_it_meanwhile() -> None:
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
