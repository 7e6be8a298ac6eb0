"""Sessions: conversations that a caller names, created when they are first used.

A session belongs to its user; for everyone else it does not exist. Anonymous callers have only the session's id. It protects
the session, so it must be a UUID, and the session expires a day after its last turn.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from conversations.exceptions import AuthenticationRequired, MalformedSession, SessionNotFound
from conversations.ids import parse_id
from conversations.models import (
    DEFAULT_TITLE,
    SESSION_ID_PATTERN,
    TEMPORARY_LIFETIME,
    Assistant,
    Conversation,
    Message,
    TitleSource,
)
from conversations.new_ids import new_id
from conversations.services.assistants import find_assistant
from conversations.services.history.holds import refuse_held, refusing_held
from conversations.services.replies.early_stops import take_early_stop
from conversations.services.replies.stop import stop_running_reply
from conversations.services.sending.first_turns import Opening
from conversations.services.sending.permits import refuse_while_ending
from conversations.services.user_directory import requires_known_user
from conversations.session_names import free_name

CLAIM_TRIES = 3
SESSION_ID_FORM = re.compile(SESSION_ID_PATTERN)


def require_caller(user_id: UUID | None) -> None:
    """Raise `AuthenticationRequired` for an anonymous caller where ALLOW_ANONYMOUS is off."""
    if user_id is None and not settings.ALLOW_ANONYMOUS:
        raise AuthenticationRequired("A valid token is needed here.")


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """`conversation` is its id or, before its first use, a function that creates it: see `sending.first_turns`.

    `change` gives it the assistant that it uses from now on, None if it has it.
    """

    conversation: UUID | Opening
    change: Callable[[], object] | None = None


def open_session(*, session_id: str, user_id: UUID | None, assistant_id: str | None = None) -> OpenedSession:
    """Find the conversation of a session. Nothing is changed yet.

    Raises `AuthenticationRequired`, `MalformedSession`, `AssistantNotFound`, `ShuttingDown`, `TooManyReplies`,
    `UnknownUser`.
    """
    refuse_while_ending()
    require_caller(user_id)
    assistant = None if assistant_id is None else find_assistant(assistant_id)
    if user_id is None:
        if assistant is not None:
            _require_public(assistant)
        session_id = _anonymous_key(session_id)
    sessions = Conversation.objects.of_session(session_id, user_id)
    found = sessions.select_related("assistant").first()
    if user_id is None:
        _require_public(assistant or (found.assistant if found else None))
    if found is None:
        return OpenedSession(partial(_create_session, session_id, user_id, assistant))
    if assistant is not None and found.assistant_id != assistant.id:
        return OpenedSession(found.id, partial(sessions.update, assistant=assistant))
    return OpenedSession(found.id)


def find_session(*, session_id: str, user_id: UUID | None) -> UUID:
    """Return the conversation of a session. Raises `SessionNotFound`."""
    if not SESSION_ID_FORM.fullmatch(session_id):
        raise SessionNotFound
    if user_id is None:
        parsed = parse_id(session_id)
        if parsed is None:
            raise SessionNotFound
        session_id = str(parsed)
    conversation_id = Conversation.objects.of_session(session_id, user_id).values_list("id", flat=True).first()
    if conversation_id is None:
        raise SessionNotFound
    return conversation_id


def forget_history(*, session_id: str, user_id: UUID | None) -> None:
    """Delete a session's messages and its automatic title. The session stays. Raises `SessionNotFound`, `OnHold`."""
    conversation_id = find_session(session_id=session_id, user_id=user_id)
    refuse_held(Conversation.objects.filter(id=conversation_id))
    stop_running_reply(conversation_id)
    with refusing_held(), transaction.atomic():
        # A send takes the same lock. A reply that began after the stop above loses its row, which ends it.
        row = Conversation.objects.filter(id=conversation_id).select_for_update(no_key=True).values("title_source").first()
        if row is None:
            raise SessionNotFound
        Message.objects.in_conversation(conversation_id).delete()
        if row["title_source"] != TitleSource.USER:
            named = {"title": DEFAULT_TITLE, "title_source": TitleSource.DEFAULT}
            Conversation.objects.filter(id=conversation_id).update(**named)


@dataclass(frozen=True, slots=True)
class ClaimedSession:
    """`name` is the session's id for its new owner, another one if the owner had a session of the same id."""

    name: str
    conversation_id: UUID


def claim_session(*, session_id: str, user_id: UUID) -> ClaimedSession:
    """Give an anonymous session to a user who knows its id. It no longer expires, and a running reply goes on.

    Of several users, the first gets it; that user may repeat the claim. Raises `SessionNotFound`, `UnknownUser`.
    """
    parsed = parse_id(session_id)
    if parsed is None:
        raise SessionNotFound
    for tries_left in reversed(range(CLAIM_TRIES)):
        try:
            with requires_known_user(), transaction.atomic():
                return _claim(str(parsed), user_id)
        except IntegrityError:
            # The user has begun a session of this name meanwhile.
            if not tries_left:
                raise
    raise SessionNotFound


def _claim(name: str, user_id: UUID) -> ClaimedSession:
    # A send takes the same lock. If another claim was faster, this one finds no session.
    anonymous = Conversation.objects.of_session(name, None).select_for_update(no_key=True)
    found = anonymous.values_list("id", flat=True).first()
    if found is None:
        mine = Conversation.objects.of_session(name, user_id).values_list("id", flat=True).first()
        if mine is None:
            raise SessionNotFound
        return ClaimedSession(name, mine)

    def taken(names: Iterable[str]) -> set[str]:
        owned = Conversation.objects.owned_by(user_id).filter(session_id__in=list(names))
        return {used for used in owned.values_list("session_id", flat=True) if used}

    own_name = free_name(name, taken) if taken([name]) else name
    Conversation.objects.filter(id=found).update(user_id=user_id, session_id=own_name, expires_at=None)
    return ClaimedSession(own_name, found)


def _anonymous_key(session_id: str) -> str:
    parsed = parse_id(session_id)
    if parsed is None:
        raise MalformedSession
    return str(parsed)


def _require_public(assistant: Assistant | None) -> None:
    """Raise `AuthenticationRequired` unless the assistant is active and does not require authentication."""
    if assistant is None or assistant.requires_authentication or not assistant.is_active:
        raise AuthenticationRequired


def _create_session(session_id: str, user_id: UUID | None, assistant: Assistant | None) -> UUID:
    # Only callers with a token can stop replies.
    stopped = {} if user_id is None else take_early_stop(user_id=user_id, name=session_id)
    session = Conversation(
        id=new_id(),
        user_id=user_id,
        session_id=session_id,
        title=DEFAULT_TITLE,
        assistant=assistant,
        expires_at=timezone.now() + TEMPORARY_LIFETIME if user_id is None else None,
        **stopped,
    )
    # An expired session keeps its name until it is pruned.
    expired = Conversation.objects.owned_by(user_id).filter(session_id=session_id, expires_at__lte=Now())
    expired.make_way()
    # Of two simultaneous first uses, the unique indexes accept one. The other finds its row.
    with requires_known_user():
        Conversation.objects.bulk_create([session], ignore_conflicts=True)
    sessions = Conversation.objects.of_session(session_id, user_id)
    # The new row, or that of a simultaneous request.
    found = sessions.only("id", "assistant_id").get()
    if assistant is not None and found.assistant_id != assistant.id:
        sessions.update(assistant=assistant)
    return found.id
