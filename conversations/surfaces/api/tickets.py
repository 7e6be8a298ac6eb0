"""Stream tickets: a short-lived key in the URL of one reply's stream, for clients that can't send headers.

A browser's EventSource can only send a URL, and URLs end up in histories and in the logs of proxies. A ticket may be
seen there: it opens nothing but the stream of one reply, a few times within a minute. Its streams are counted apart from the
user's, so that they can't take the places of the user's own.
"""

import hashlib
import math
from uuid import UUID

from django.core import signing
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from chatapi.auth.caller import Caller
from chatapi.cache.rates import meter
from chatapi.environment import Rate
from chatapi.observability.logs import user_id_var
from chatapi.service_error import ServiceError
from conversations.ids import parse_id

LIFETIME_S = 60
# EventSource connects again by itself, with the same URL.
USES = Rate(requests=10, period_s=LIFETIME_S)
PARAMETER = "ticket"
_SALT = "conversations.stream_ticket"


def issue_ticket(user_id: UUID, reply_id: UUID) -> str:
    """Return a ticket with which this user can follow this reply. Every node that has the same SECRET_KEY accepts it."""
    return signing.dumps([user_id.hex, reply_id.hex], salt=_SALT)


class TooManyUses(ServiceError):
    code = "throttled"
    status = 429
    detail = "This ticket was used too often. Ask for a new one."


class TicketAuthentication(BaseAuthentication):
    """Read `?ticket=`. The ticket must have been issued for the reply in the path. `request.auth` is its own id."""

    def authenticate(self, request: Request) -> tuple[Caller, UUID] | None:
        ticket = request.query_params.get(PARAMETER)
        if ticket is None:
            return None
        try:
            user_id, reply_id = map(UUID, signing.loads(ticket, salt=_SALT, max_age=LIFETIME_S))
        except signing.BadSignature:
            reply_id = None
        if reply_id is None or reply_id != parse_id(request.parser_context["kwargs"]["message_id"]):
            raise AuthenticationFailed("The ticket is invalid or has expired. Ask for a new one.", code="invalid_token")
        user_id_var.set(str(user_id))
        ticket_id = UUID(bytes=hashlib.blake2b(ticket.encode(), digest_size=16).digest())
        if wait_s := meter.count(f"ticket:{ticket_id}", USES).wait_s:
            raise TooManyUses(retry_after_s=math.ceil(wait_s))
        return Caller(id=user_id, is_admin=False), ticket_id
