"""Events, however the stream is cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_proxy.exceptions import UpstreamError
from inference_proxy.upstream.sse import ERROR_EVENT, LONG_EVENT_BYTES, MAX_UNFINISHED_BYTES, MOST_LONG_EVENTS, EventDecoder

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
    assert decoder.feed(b"ta: 3\r\n\r") == [b"3"]
    assert decoder.feed(b"\n") == []


def test_a_stream_may_end_without_a_blank_line() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: [DONE]\r") == []
    assert decoder.finish() == [b"[DONE]"]
    assert decoder.finish() == []


def test_a_bom_is_only_one_at_the_start() -> None:
    assert decode([b"data: \xef\xbb\xbfx\n\n"]) == [b"\xef\xbb\xbfx"]
    assert decode([b"\xef\xbb"]) == []


def test_an_event_without_end_is_refused_where_a_reply_would_be() -> None:
    decoder = EventDecoder()
    chunk = b"x" * 65536
    for _ in range(MAX_UNFINISHED_BYTES // len(chunk)):
        assert decoder.feed(chunk) == []
    with pytest.raises(UpstreamError):
        decoder.feed(b"x")


def test_what_came_before_an_event_that_is_too_long_is_returned() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: 1\n\ndata: " + b"x" * (MAX_UNFINISHED_BYTES + 1)) == [b"1"]
    with pytest.raises(UpstreamError):
        decoder.feed(b"x")


def test_many_events_in_one_chunk_may_be_longer_than_one_event() -> None:
    event = b"data: " + b"x" * 10_000 + b"\n\n"
    assert len(EventDecoder().feed(event * 1200)) == 1200


def test_an_event_may_be_long() -> None:
    event = b"data: " + b"x" * (2 * 1024 * 1024) + b"\n\n"
    assert decode([event[at : at + 65536] for at in range(0, len(event), 65536)]) == [event[6:-2]]


class CountedBytes(bytearray):
    """A buffer that counts the bytes that are copied out of it."""

    copied = 0

    def __bytes__(self) -> bytes:
        CountedBytes.copied += len(self)
        return bytes(memoryview(self))


@pytest.mark.parametrize("line_end", [b"", b"\ndata: "])
def test_small_pieces_cost_what_they_hold(line_end: bytes) -> None:
    decoder = EventDecoder()
    decoder._line, decoder._data = CountedBytes(), CountedBytes()
    CountedBytes.copied = 0
    pieces = [b"data: ", *[b"12345678" + line_end] * 20_000, b"\n\n"]
    events = [event for piece in pieces for event in decoder.feed(piece)]
    assert len(events) == 1
    assert CountedBytes.copied <= 4 * sum(map(len, pieces))


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    ("stream", "events"),
    [
        # Objects with one line end between them.
        (b'data: {"a": 1}\ndata: {"b": {}}\ndata: [DONE]\n', [b'{"a": 1}', b'{"b": {}}', b"[DONE]"]),
        (b'data: {"a": 1}\r\ndata: {"b": 2}\r\n\r\n', [b'{"a": 1}', b'{"b": 2}']),
        # One object over several lines, also where lines look like objects.
        (b'data: {\ndata: "a": 1\ndata: }\n\n', [b'{\n"a": 1\n}']),
        (b'data: {"a": [{}\ndata: ,\ndata: {}\ndata: ]}\n\n', [b'{"a": [{}\n,\n{}\n]}']),
        # Errors beside the data.
        (b'event: error\ndata: {"message": "x"}\n\ndata: 1\n\n', [b'{"error":"event","detail":{"message": "x"}}', b"1"]),
        (b"event: error\ndata: x\n\ndata: 1\n\n", [ERROR_EVENT, b"1"]),
        (b"data: 1\n\nevent: error\n\n", [b"1", ERROR_EVENT]),
        (b'error: {"code": 500}\n\n', [b'{"error":"event","detail":{"code": 500}}']),
        (b"error: x", [ERROR_EVENT]),
        (b"event: message\ndata: 1\n\n", [b"1"]),
        # One JSON document.
        (b' {"a":\n\n 1}\n', [b'{"a":\n\n 1}']),
        (b'\xef\xbb\xbf{"a": 1}', [b'{"a": 1}']),
    ],
)
def test_what_services_send_by_mistake(stream: bytes, events: list[bytes], size: int) -> None:
    assert decode([stream[at : at + size] for at in range(0, len(stream), size)]) == events


@pytest.mark.parametrize("begin", [b"data: ", b'{"choices": "'])
def test_only_some_events_may_be_long_at_once(begin: bytes) -> None:
    long = begin + b"x" * LONG_EVENT_BYTES
    decoders = [EventDecoder() for _ in range(MOST_LONG_EVENTS)]
    for decoder in decoders:
        assert decoder.feed(long) == []
    with pytest.raises(UpstreamError):
        EventDecoder().feed(long)
    # Those that go on keep their place.
    assert decoders[0].feed(b"x") == []
    ended = EventDecoder()
    assert ended.feed(b"data: short\n\n") == [b"short"]
    del decoder, decoders
    for _ in range(MOST_LONG_EVENTS + 1):
        [event] = EventDecoder().feed(b"data: " + b"x" * LONG_EVENT_BYTES + b"\n\n")
        assert len(event) == LONG_EVENT_BYTES


def test_an_event_that_has_ended_leaves_its_place() -> None:
    decoder = EventDecoder()
    for _ in range(MOST_LONG_EVENTS + 1):
        assert decoder.feed(b"data: " + b"x" * LONG_EVENT_BYTES * 2) == []
        assert len(decoder.feed(b"\n\n")[0]) == 2 * LONG_EVENT_BYTES
    others = [EventDecoder() for _ in range(MOST_LONG_EVENTS)]
    assert [other.feed(b"data: " + b"x" * LONG_EVENT_BYTES) for other in others] == [[]] * MOST_LONG_EVENTS
