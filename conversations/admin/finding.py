"""The box in the header of every page: it finds people, conversations and messages at once, and says why
each was found.

Each step reads an index and returns a limited number of rows. Words are looked up as in the list of conversations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, Q, Subquery
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from conversations.admin.access import note_list_of
from conversations.admin.replica import read_for
from conversations.admin.search import match_words, users_with_email
from conversations.ids import parse_id
from conversations.models import ChatUser, Conversation, Message
from conversations.placeholders import TEXT
from conversations.services.search.snippets import MATCH_START, MATCH_STOP, make_snippet
from conversations.services.search.words import Words

MOST_SHOWN = 20
MOST_WANTED_CHARACTERS = 300
# An excerpt is taken from the beginning of a message. Longer texts would cost too much.
CHARACTERS_SEARCHED = 20_000


@dataclass(slots=True)
class Person:
    id: UUID
    email: str
    name: str
    why: str


@dataclass(slots=True)
class Place:
    """A conversation, or a message in it. `excerpt` is a list of (text, is it a match)."""

    conversation_id: UUID
    why: str
    message_id: UUID | None = None
    excerpt: list[tuple[str, bool]] = field(default_factory=list)
    title: str = ""
    user_id: UUID | None = None
    email: str = ""
    at: datetime | None = None


@dataclass(slots=True)
class Finds:
    people: list[Person] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def find_page(request: HttpRequest, site: AdminSite = admin.site) -> HttpResponse:
    """Show what the box finds."""
    if not request.user.has_perm("conversations.view_conversation"):
        raise PermissionDenied
    wanted = request.GET.get("q", "").replace("\x00", "").strip()[:MOST_WANTED_CHARACTERS]
    may_see_people = request.user.has_perm("conversations.view_chatuser")
    finds = read_for(request, partial(find, wanted, with_people=may_see_people)) if wanted else Finds()
    if wanted:
        note_list_of(request)
    title = f"Found for “{wanted}”" if wanted else "Find people and conversations"
    context = {**site.each_context(request), "title": title, "wanted": wanted, "finds": finds}
    response = TemplateResponse(request, "admin/conversations/found.html", context)
    response["Cache-Control"] = "no-store"
    return response


def find(wanted: str, *, with_people: bool) -> Finds:
    """Find a text among people, ids and words. At most 20 of each kind, exact matches first."""
    finds = Finds(people=_people(wanted) if with_people else [])
    finds.places = _by_id(wanted)
    is_exact = parse_id(wanted) is not None or ("@" in wanted and bool(finds.people))
    if not is_exact:
        _add_words(finds, wanted)
    _describe(finds.places)
    return finds


def _people(wanted: str) -> list[Person]:
    if wanted_id := parse_id(wanted):
        return _people_with_id(wanted_id)
    if "@" in wanted:
        known = ChatUser.objects.filter(id__in=users_with_email(wanted)[: MOST_SHOWN + 1])
    else:
        known = ChatUser.objects.filter(Q(email__istartswith=wanted) | Q(name__istartswith=wanted))
    rows = list(known.order_by("-last_seen_at", "-id").values_list("id", "email", "name")[:MOST_SHOWN])
    found = [Person(row_id, email, name, _why_person(email, name, wanted)) for row_id, email, name in rows]
    return sorted(found, key=lambda person: not person.why.startswith("exact"))


def _why_person(email: str, name: str, wanted: str) -> str:
    if email.casefold() == wanted.casefold():
        return "exact e-mail address"
    if name.casefold() == wanted.casefold():
        return "exact name"
    return (
        "the e-mail address begins like this" if email.casefold().startswith(wanted.casefold()) else "the name begins like this"
    )


def _people_with_id(wanted_id: UUID) -> list[Person]:
    known = ChatUser.objects.filter(id=wanted_id).values_list("email", "name").first()
    if known is None and not Conversation.objects.owned_by(wanted_id).exists():
        return []
    email, name = known or ("", "")
    return [Person(wanted_id, email, name, "the user's id")]


def _by_id(wanted: str) -> list[Place]:
    """Find a conversation, a message, a trace or a session. A trace may look like a UUID, and so may a session."""
    if len(wanted.split()) != 1:
        return []
    found = []
    if wanted_id := parse_id(wanted):
        if Conversation.objects.filter(id=wanted_id).exists():
            found.append(Place(wanted_id, "the conversation's id"))
        message = Message.objects.filter(id=wanted_id).values_list("conversation_id", flat=True).first()
        if message:
            found.append(Place(message, "the id of this message", message_id=wanted_id))
    traced = Message.objects.filter(trace_id=wanted).newest_first().values_list("conversation_id", "id")[:MOST_SHOWN]
    found += [Place(conversation_id, "the trace of this reply", message_id=row_id) for conversation_id, row_id in traced]
    of_session = Conversation.objects.filter(session_id=wanted, session_id__isnull=False).values_list("id", flat=True)
    return found + [Place(row_id, "the session's id") for row_id in of_session[:MOST_SHOWN]]


def _add_words(finds: Finds, wanted: str) -> None:
    found = match_words(Conversation.objects.all(), wanted, most=MOST_SHOWN)
    if found.notice:
        finds.notices.append(found.notice)
    finds.places += [Place(row_id, "words in the title") for row_id in found.titled]
    if found.words is not None:
        finds.places += _excerpts(found.words, [message_id for _, message_id in found.messages])


def _excerpts(words: Words, message_ids: Sequence[UUID]) -> list[Place]:
    """Cut the matches out of messages."""
    rows: Any = Message.objects.filter(id__in=message_ids).annotate(text=Left(TEXT, CHARACTERS_SEARCHED)).newest_first()
    return [
        Place(
            conversation_id,
            f"words in a message of the {role}",
            message_id=row_id,
            excerpt=split_marks(make_snippet(text, words.wanted, ends_open=words.ends_open)),
        )
        for conversation_id, row_id, role, text in rows.values_list("conversation_id", "id", "role", "text")
    ]


def split_marks(excerpt: str) -> list[tuple[str, bool]]:
    """Split an excerpt at the marks around its matches."""
    parts: list[tuple[str, bool]] = []
    for number, piece in enumerate(excerpt.split(MATCH_START)):
        match, mark, rest = piece.partition(MATCH_STOP)
        parts += [(match, bool(mark) and number > 0), (rest, False)]
    return [(text, is_match) for text, is_match in parts if text]


def _describe(places: list[Place]) -> None:
    """Fill in the title, the user and the time of each. One query."""
    email = Subquery(ChatUser.objects.filter(id=OuterRef("user_id")).values("email")[:1])
    wanted = Conversation.objects.filter(id__in={place.conversation_id for place in places})
    known: dict[UUID, Any] = {row.pk: row for row in wanted.annotate(email=email)}
    for place in places:
        if row := known.get(place.conversation_id):
            place.title, place.user_id, place.email, place.at = str(row), row.user_id, row.email or "", row.updated_at
