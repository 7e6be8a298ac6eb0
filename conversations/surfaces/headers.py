"""Headers that more than one surface reads or writes."""

import re
from dataclasses import dataclass
from urllib.parse import urlencode

from django.http import HttpRequest, QueryDict
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from inference_proxy.replies.frames import END_ID, START, Cursor

# `T-R-M` or `T-R-C-M`: see `inference_proxy.replies.streams.marked`.
MARKED_ID = re.compile(r"(\d+-\d+(?:-\d{1,2})?)-([0-9a-f]{8})", re.ASCII)
IDEMPOTENCY_KEY_FORM = re.compile(r"[\x21-\x7e]{1,200}")


@dataclass(frozen=True, slots=True)
class LastEvent:
    """The last event of a reply that a client received: the cursor after it, or the end."""

    cursor: Cursor = START
    is_end: bool = False
    # Which reply the event belongs to, as `inference_proxy.replies.streams.mark_of` says it. "" if its id does not say so.
    mark: str = ""


def read_idempotency_key(request: HttpRequest) -> str:
    """Return the `Idempotency-Key`, or "" without one. Raises a 400 if it is malformed."""
    key: str = request.META.get("HTTP_IDEMPOTENCY_KEY", "")
    if key and not IDEMPOTENCY_KEY_FORM.fullmatch(key):
        raise ValidationError({"Idempotency-Key": ["Must be 1 to 200 visible ASCII characters."]})
    return key


def replay_headers(is_replay: bool) -> dict[str, str]:
    """Return the header that tells that an earlier request with the same `Idempotency-Key` did what this one asks for."""
    return {"X-Idempotent-Replay": "true"} if is_replay else {}


# The answer to a stop that arrives before its send.
STOPS_LATER = "The reply will be stopped as soon as its message arrives."


def read_stop_key(request: Request) -> str:
    """Return the key of the send whose reply is to be stopped: the header's, or `idempotency_key` of the body, or ""."""
    key = read_idempotency_key(request._request)
    given = request.data.get("idempotency_key") if not key and isinstance(request.data, dict) else None
    if given is None:
        return key
    if not isinstance(given, str) or not IDEMPOTENCY_KEY_FORM.fullmatch(given):
        raise ValidationError({"idempotency_key": ["Must be 1 to 200 visible ASCII characters."]})
    return given


def read_last_event(request: HttpRequest) -> LastEvent | None:
    """Return the last event that a client has of a stream, or None if it names none. Raises a 400 if it is malformed.

    A reconnecting browser repeats the URL and adds the header, so the header is newer than `?after=`. Clients that can't
    send the header, such as event-source-polyfill, add `?lastEventId=` to the URL instead.
    """
    params, in_header = request.GET, request.META.get("HTTP_LAST_EVENT_ID", "")
    named = {"Last-Event-ID": in_header, **{name: params.get(name, "") for name in ("lastEventId", "after")}}
    events = [_parse_event(name, event_id) for name, event_id in named.items() if event_id]
    return events[0] if events else None


def _parse_event(name: str, event_id: str) -> LastEvent:
    if event_id == END_ID:
        return LastEvent(is_end=True)
    marked = MARKED_ID.fullmatch(event_id)
    form, mark = marked.groups() if marked else (event_id, "")
    try:
        return LastEvent(cursor=Cursor.parse(form), mark=mark)
    except ValueError:
        raise ValidationError({name: ["Must be the id of an event of this stream."]}) from None


def next_link(path: str, params: QueryDict, cursor: str | None) -> dict[str, str]:
    """Return the `Link` header to the next page. Empty on the last page.

    The URL is relative, as RFC 8288 allows, because behind a proxy this server does not know the host that clients use.
    """
    if cursor is None:
        return {}
    kept = {name: params[name] for name in ("limit",) if name in params}
    return {"Link": f'<{path}?{urlencode({**kept, "cursor": cursor})}>; rel="next"'}
