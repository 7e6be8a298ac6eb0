"""Ask the inference service for a short text that is no reply: no client follows it, and its time and length are bounded."""

from collections.abc import Iterator
from uuid import uuid4

from inference_proxy.exceptions import NoAnswer, UpstreamError
from inference_proxy.protocols.base import Delta, GenerationRequest
from inference_proxy.replies.asking import Asking
from inference_proxy.upstream.call import UpstreamCall
from inference_proxy.upstream.sse import EventDecoder

# Thoughts count, too.
MOST_BYTES = 256 * 1024


def ask_briefly(request: GenerationRequest, *, limit_s: float, most_characters: int) -> str:
    """Return the text of the answer, up to a length. Holds no database connection. Raises `UpstreamFailure`."""
    call = UpstreamCall(start_timeout_s=limit_s, idle_timeout_s=limit_s, total_timeout_s=limit_s)
    asking = Asking(uuid4(), request, call)
    text = ""
    try:
        asking.ask()
        for delta in _read(asking, call):
            if delta.has_failed:
                raise UpstreamError
            text += delta.text
            if delta.is_end or len(text) >= most_characters:
                break
    finally:
        call.close()
    if not text.strip():
        raise NoAnswer
    return text[:most_characters]


def _read(asking: Asking, call: UpstreamCall) -> Iterator[Delta]:
    protocol, decoder, size = asking.protocol, EventDecoder(), 0
    while chunk := call.read():
        size += len(chunk)
        if size > MOST_BYTES:
            raise UpstreamError
        yield from (protocol.read_event(data) for data in decoder.feed(chunk) if data)
    events = decoder.finish()
    if decoder.is_document and len(events) == 1:
        events = protocol.events_of_document(events[0])
    yield from (protocol.read_event(data) for data in events if data)
    yield protocol.flush(is_whole=True)
