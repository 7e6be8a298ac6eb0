"""Headers that more than one surface reads or writes."""

import re
from dataclasses import dataclass
from urllib.parse import urlencode

from django.http import HttpRequest, QueryDict
from rest_framework.exceptions import ValidationError

from inference_proxy.transcript import END_ID

IDEMPOTENCY_KEY_FORM = re.compile(r"[\x21-\x7e]{1,200}")
# PostgreSQL's `substr` takes no larger position, and no text is longer.
MAX_REPLY_OFFSET = 2**31 - 1


@dataclass(frozen=True, slots=True)
class LastEvent:
    """The last event of a reply that a client received: after `offset` code points of text, or the end."""

    offset: int = 0
    is_end: bool = False


def read_idempotency_key(request: HttpRequest) -> str:
    """Return the `Idempotency-Key`, or "" without one. Raises a 400 if it is malformed."""
    key: str = request.META.get("HTTP_IDEMPOTENCY_KEY", "")
    if key and not IDEMPOTENCY_KEY_FORM.fullmatch(key):
        raise ValidationError({"Idempotency-Key": ["Must be 1 to 200 visible ASCII characters."]})
    return key


def read_last_event(request: HttpRequest) -> LastEvent | None:
    """Return the event in `Last-Event-ID`, or None without one. Raises a 400 if it is malformed."""
    event_id: str = request.META.get("HTTP_LAST_EVENT_ID", "")
    if not event_id:
        return None
    if event_id == END_ID:
        return LastEvent(is_end=True)
    if not re.fullmatch(r"\d{1,10}", event_id, re.ASCII) or int(event_id) > MAX_REPLY_OFFSET:
        raise ValidationError({"Last-Event-ID": ["Must be the id of an event of this stream."]})
    return LastEvent(offset=int(event_id))


def next_link(path: str, params: QueryDict, cursor: str | None) -> dict[str, str]:
    """Return the `Link` header to the next page. Empty on the last page.

    The address is relative, as RFC 8288 allows, because behind a proxy this server does not know the host that clients use.
    """
    if cursor is None:
        return {}
    kept = {name: params[name] for name in ("limit",) if name in params}
    return {"Link": f'<{path}?{urlencode({**kept, "cursor": cursor})}>; rel="next"'}
