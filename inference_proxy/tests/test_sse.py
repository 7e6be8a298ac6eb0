"""Events, however the stream is cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_proxy.exceptions import UpstreamError
from inference_proxy.sse import MAX_UNFINISHED_BYTES, EventDecoder

STREAM = (
    b'data: {"token": "h\xc3\xa9"}\n\n'
    b": a comment\n\n"
    b"event: token\r\nid: 7\r\ndata: crlf\r\n\r\n"
    b"data:no space\rdata: second line\r\r"
    b"retry: 10\n\n\n"
    b"data:  two spaces\ndata:\n\n"
    b"datax: not data\n\n"
    b"data: last\n\n"
)
EVENTS = [b'{"token": "h\xc3\xa9"}', b"crlf", b"no space\nsecond line", b" two spaces\n", b"last"]


def decode(chunks: list[bytes]) -> list[bytes]:
    decoder = EventDecoder()
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events + decoder.finish()


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_every_pair_of_cuts(bom: bytes) -> None:
    stream = bom + STREAM
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            assert decode([stream[:first], stream[first:second], stream[second:]]) == EVENTS, (first, second)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_small_chunks(size: int) -> None:
    assert decode([STREAM[at : at + size] for at in range(0, len(STREAM), size)]) == EVENTS


LINE = st.binary(max_size=12).map(lambda line: line.translate(None, b"\r\n"))
DATA_LINES = st.lists(LINE, min_size=1, max_size=3)
NOISE = st.sampled_from([b"", b": comment\n", b"id: 1\n", b"event: x\n", b":\n"])


@given(
    events=st.lists(st.tuples(NOISE, DATA_LINES), max_size=5),
    ending=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    cuts=st.lists(st.integers(0, 200), max_size=6),
    bom=st.booleans(),
)
def test_what_was_written_is_read(events: list[tuple[bytes, list[bytes]]], ending: bytes, cuts: list[int], bom: bool) -> None:
    written = b"".join(noise + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n" for noise, lines in events)
    stream = (b"\xef\xbb\xbf" if bom else b"") + written.replace(b"\n", ending)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[begin:end] for begin, end in pairwise(places)]
    assert decode(chunks) == [b"\n".join(lines) for _, lines in events]


@given(garbage=st.binary(max_size=200), cut=st.integers(0, 200))
def test_garbage_is_read_the_same_wherever_it_is_cut(garbage: bytes, cut: int) -> None:
    assert decode([garbage]) == decode([garbage[:cut], garbage[cut:]])


def test_events_come_as_soon_as_they_are_whole() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: 1\n") == []
    assert decoder.feed(b"\ndata: 2\n\nda") == [b"1", b"2"]
    assert decoder.feed(b"ta: 3\r\n\r") == []
    assert decoder.feed(b"\n") == [b"3"]


def test_a_stream_may_end_without_a_blank_line() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: [DONE]\r") == []
    assert decoder.finish() == [b"[DONE]"]
    assert decoder.finish() == []


def test_a_bom_is_only_one_at_the_start() -> None:
    assert decode([b"data: \xef\xbb\xbfx\n\n"]) == [b"\xef\xbb\xbfx"]
    assert decode([b"\xef\xbb"]) == []


def test_an_event_without_end_is_refused_at_a_mebibyte() -> None:
    decoder = EventDecoder()
    chunk = b"x" * 65536
    for _ in range(MAX_UNFINISHED_BYTES // len(chunk)):
        assert decoder.feed(chunk) == []
    with pytest.raises(UpstreamError):
        decoder.feed(b"x")


def test_many_events_in_one_chunk_may_be_more_than_a_mebibyte() -> None:
    event = b"data: " + b"x" * 1000 + b"\n\n"
    assert len(EventDecoder().feed(event * 1200)) == 1200
