"""The sessions of staff: from which device and address, since when, last seen, and how to end them.

Django keeps a session as one sealed text. So each has a row beside it, which is written at most once a minute. A row counts
only while its session lives and was made with the present password: Django ends the others when the password changes.
"""

import hashlib
from typing import Any

from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db.models import Exists, OuterRef
from django.http import HttpRequest
from django.utils import timezone

from conversations.models.staff import MOST_DEVICE_CHARACTERS, StaffSession

NOTED_EVERY_S = 60
MOST_LISTED = 200


def note_session(request: HttpRequest, *, method: str) -> None:
    """Note that the signed-in member of staff uses this session. Writes at most once a minute."""
    key, mark = request.session.session_key, _mark(request.session.get(HASH_SESSION_KEY, ""))
    if key is None:
        return
    # In the cache, because the session is a row of the database, too. Its key is no part of the name: others may read names.
    name = f"staff-session:{_mark(key)}-{mark}"
    if cache.get(name):
        return
    cache.set(name, True, NOTED_EVERY_S)
    user: Any = request.user
    row = StaffSession(
        user_id=user.pk,
        session_key=key,
        device=request.headers.get("User-Agent", "").replace("\x00", "")[:MOST_DEVICE_CHARACTERS],
        address=request.META.get("REMOTE_ADDR", "")[:45],
        method=method,
        password_mark=mark,
        seen_at=timezone.now(),
    )
    updated = ["user_id", "device", "address", "method", "password_mark", "seen_at"]
    StaffSession.objects.bulk_create([row], update_conflicts=True, unique_fields=["session_key"], update_fields=updated)


def list_sessions(user: User) -> list[StaffSession]:
    """Return a user's live sessions, last seen first. Forgets those that have ended."""
    forget_ended(user)
    live = _live().filter(user=user)
    return [one for one in live.order_by("-seen_at", "-id")[:MOST_LISTED] if one.password_mark in _marks_of(user)]


def list_all_sessions(*, without: int) -> list[StaffSession]:
    """Return the live sessions of all staff but one, last seen first, at most 200, each with its user."""
    others = _live().exclude(user_id=without).select_related("user").order_by("-seen_at", "-id")[:MOST_LISTED]
    return [one for one in others if one.password_mark in _marks_of(one.user)]


def find_session(session_id: int) -> StaffSession | None:
    return StaffSession.objects.select_related("user").filter(pk=session_id).first()


def end_sessions(*, user: User, session_ids: list[int] | None = None, but_key: str | None = None) -> int:
    """End these sessions of a user, or all, except the one with `but_key`. Return how many."""
    rows = StaffSession.objects.filter(user=user)
    if session_ids is not None:
        rows = rows.filter(pk__in=session_ids)
    if but_key is not None:
        rows = rows.exclude(session_key=but_key)
    keys = list(rows.values_list("session_key", flat=True))
    ended, _ = Session.objects.filter(session_key__in=keys).delete()
    StaffSession.objects.filter(session_key__in=keys).delete()
    return ended


def forget_ended(user: Any) -> None:
    """Forget a user's sessions that have expired or were ended. Called at each sign-in, so the table stays small."""
    StaffSession.objects.filter(user_id=user.pk).exclude(pk__in=_live().filter(user_id=user.pk).values("pk")).delete()


def _live() -> Any:
    alive = Session.objects.filter(session_key=OuterRef("session_key"), expire_date__gt=timezone.now())
    return StaffSession.objects.filter(Exists(alive))


def _marks_of(user: User) -> set[str]:
    """Return what rows of sessions with the present password have: also of sessions signed with an earlier SECRET_KEY."""
    return {_mark(user.get_session_auth_hash()), *(_mark(one) for one in user.get_session_auth_fallback_hash())}


def _mark(secret: str) -> str:
    """Return what tells a secret from others without being it."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16]
