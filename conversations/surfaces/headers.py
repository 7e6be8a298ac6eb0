"""Headers that more than one surface reads or writes."""

import re
from urllib.parse import urlencode

from django.http import HttpRequest, QueryDict
from rest_framework.exceptions import ValidationError

IDEMPOTENCY_KEY_FORM = re.compile(r"[\x21-\x7e]{1,200}")


def read_idempotency_key(request: HttpRequest) -> str:
    """Return the `Idempotency-Key`, "" where there is none. Raises a 400 that names it."""
    key: str = request.META.get("HTTP_IDEMPOTENCY_KEY", "")
    if key and not IDEMPOTENCY_KEY_FORM.fullmatch(key):
        raise ValidationError({"Idempotency-Key": ["Must be 1 to 200 visible ASCII characters."]})
    return key


def next_link(path: str, params: QueryDict, cursor: str | None) -> dict[str, str]:
    """Return the `Link` header to the next page; none on the last.

    The address is relative, as RFC 8288 allows: behind a proxy the host that we were called by is not the client's.
    """
    if cursor is None:
        return {}
    kept = {name: params[name] for name in ("limit",) if name in params}
    return {"Link": f'<{path}?{urlencode({**kept, "cursor": cursor})}>; rel="next"'}
