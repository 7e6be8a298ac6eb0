"""Which rows: the questions that are asked of conversations and messages, each with an index that answers it."""

import operator
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import reduce
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.db import models
from django.db.models import Case, Exists, F, Func, OuterRef, Q, RowRange, Subquery, Sum, Value, When, Window
from django.db.models.expressions import OrderBy, RawSQL
from django.db.models.functions import Cast, Now, StrIndex
from django.db.models.query import RawQuerySet

from conversations.expressions import Folded, has_phrase_sql, words_sql
from conversations.placeholders import TEXT, TEXT_SQL, WITHOUT_TEXT, WITHOUT_TEXT_SQL

if TYPE_CHECKING:
    from conversations.models import Conversation, Message  # noqa: F401  # `Conversation` is only in strings

NEWEST_OF_EACH_SQL = f"""
SELECT id, conversation_id, role, created_at,
    CASE WHEN bytes_so_far <= %s OR bytes_so_far = size THEN {TEXT_SQL} END AS content_read
FROM (
    SELECT newest.*, sum(size) OVER (ORDER BY wanted.place, newest.created_at DESC, newest.id DESC) AS bytes_so_far
    FROM unnest(%s::uuid[]) WITH ORDINALITY AS wanted (id, place)
    CROSS JOIN LATERAL (
        SELECT id, conversation_id, role, content, created_at, octet_length(content) AS size
        FROM messages
        WHERE conversation_id = wanted.id AND is_active AND (tool_calls IS NULL OR role = 'assistant')
        ORDER BY created_at DESC, id DESC
        LIMIT %s
    ) AS newest
) AS weighed
ORDER BY conversation_id, created_at, id
"""  # noqa: S608

# Replies that failed or were interrupted before their first word: a retry answers anew.
VOID = Q(WITHOUT_TEXT, status__in=("failed", "interrupted"))
# `heartbeat_at` of a reply whose worker has a lease: nodes of the version before must not take it for abandoned.
NO_HEARTBEAT = Cast(Value("infinity"), models.DateTimeField())
# A running reply is abandoned if its worker is dead (see `services.replies.leases`). Workers of the version before name
# themselves nowhere: they renew `heartbeat_at`, which must not be older than ABANDONED_AFTER_SECONDS by the database's clock.
# For SQL that knows that the reply is running.
#
# A reply that waited in the queue and has no text yet is begun anew by another worker (see `sending.queue_keeper`).
IS_BEGUN_SQL = f"""
(NOT {WITHOUT_TEXT_SQL} OR NOT EXISTS (SELECT FROM queued_messages AS queued WHERE queued.reply_id = messages.id))
"""
IS_ABANDONED_SQL = """
(worker = ANY(%(dead_workers)s::uuid[])
 OR heartbeat_at IS NULL OR heartbeat_at < statement_timestamp() - make_interval(secs => %(abandoned_after_s)s))
"""


def _with_words(column: str, loose: str, exact: str | None) -> Q:
    has_words = f"{words_sql(column)} @@ %s::tsquery"
    conditions = [RawSQL(has_words, [loose], output_field=models.BooleanField())]  # noqa: S611  # `column` is a constant
    if exact is not None:
        phrases = has_phrase_sql(column, "%s::tsquery", "NULL::text[]")
        conditions.append(RawSQL(phrases, [exact], output_field=models.BooleanField()))  # noqa: S611
    return Q(*conditions)


def _their_holds() -> tuple[Exists, Exists]:
    """Return whether a conversation is on hold, and whether its user is. Two conditions, because each has an index."""
    # By name, because the models import this module.
    hold = apps.get_model("conversations", "LegalHold").objects.filter(
        Q(ends_at__isnull=True) | Q(ends_at__gt=Now()), released_at__isnull=True
    )
    return Exists(hold.filter(conversation_id=OuterRef("id"))), Exists(hold.filter(user_id=OuterRef("user_id")))


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def owned_by(self, user_id: UUID | None) -> "ConversationQuerySet":
        """Restrict to a user's conversations; None restricts to those of anonymous callers."""
        return self.filter(user_id__isnull=True) if user_id is None else self.filter(user_id=user_id)

    def visible_to(self, user_id: UUID | None) -> "ConversationQuerySet":
        """Restrict to the conversations that a user may still read and write: temporary chats are gone when their time is over,
        whenever they are pruned."""
        return self.owned_by(user_id).filter(Q(expires_at__isnull=True) | Q(expires_at__gt=Now()))

    def listed(self) -> "ConversationQuerySet":
        """Leave out temporary chats and those that no client asked for (answered by idx_conversations_listed)."""
        return self.filter(expires_at__isnull=True, is_listed=True)

    def unarchived(self) -> "ConversationQuerySet":
        """Leave out what its user has archived (for those that are `listed`, answered by idx_conversations_unarchived)."""
        return self.filter(is_archived=False)

    def in_list(
        self, *, is_archived: bool = False, is_favorited: Any = None, is_tagged: bool = False
    ) -> "ConversationQuerySet":
        """Restrict to one of the lists of a user's conversations, each of which has an index."""
        conversations = self.listed().filter(is_archived=is_archived)
        if is_tagged:
            conversations = conversations.filter(tag_keys__isnull=False)
        return conversations if is_favorited is None else conversations.filter(is_favorited=is_favorited)

    def tagged(self, keys: Sequence[str]) -> "ConversationQuerySet":
        """Restrict to conversations that have all these tags, given by their keys (see `conversations.tags`)."""
        return self.filter(tag_keys__contains=keys)

    def of_session(self, session_id: str, user_id: UUID | None) -> "ConversationQuerySet":
        """Restrict to a user's session, or an anonymous one; one that has expired is gone."""
        return self.visible_to(user_id).filter(session_id=session_id)

    def with_running_reply(self) -> "ConversationQuerySet":
        """Annotate `running_message_id`, the reply that is being written, or None (answered by uq_messages_running)."""
        return self.annotate(running_message_id=Subquery(self._their_messages().running().values("id")[:1]))

    def titled_with(self, folded: Any) -> "ConversationQuerySet":
        """Restrict to titles that contain a text, an expression of what `expressions.fold` returns. No index answers this."""
        return self.alias(place=StrIndex(Folded(F("title")), folded)).filter(place__gt=0)

    def titled_with_words(self, loose: str, exact: str | None = None) -> "ConversationQuerySet":
        """Restrict to titles with the words of these `tsquery` (answered by idx_conversations_words)."""
        return self.filter(_with_words("conversations.title", loose, exact))

    def newest_activity_first(self) -> "ConversationQuerySet":
        """Order as idx_conversations_user does: rows without a time, which only the predecessor wrote, come first."""
        return self.order_by("-updated_at", "-id")

    def with_ids(self, array: str) -> "ConversationQuerySet":
        """Restrict to the ids in a literal of PostgreSQL's `uuid[]`: one parameter, and one scan of the primary key."""
        is_among = RawSQL("conversations.id = ANY(%s::uuid[])", [array], output_field=models.BooleanField())
        return self.filter(is_among)

    # What operators choose by. Those that look at messages or at other conversations cost an index look-up per row: ask them
    # of a batch of ids (see services.history.id_batches), never of the whole table.

    def inactive_since(self, moment: datetime) -> "ConversationQuerySet":
        """Restrict to conversations without a turn since then, as far as their rows tell.

        A row without that time, which only the predecessor wrote, is judged by its creation; one that has neither is left out.
        """
        return self.filter(Q(updated_at__lt=moment) | Q(updated_at__isnull=True, created_at__lt=moment))

    def without_message_since(self, moment: datetime) -> "ConversationQuerySet":
        """Leave out conversations with a message since then: the predecessor saves messages without noting a turn."""
        return self.filter(~Exists(self._their_messages().filter(created_at__gte=moment)))

    def expired(self) -> "ConversationQuerySet":
        """Restrict to temporary chats whose time is over, also that in the trash (answered by idx_conversations_expiry)."""
        is_kept = Q(deleted_at__gte=Now() - timedelta(days=settings.TRASH_DAYS))
        return self.filter(Q(deleted_at__isnull=True) | ~is_kept, expires_at__lt=Now())

    def in_trash(self, since: Any) -> "ConversationQuerySet":
        """Restrict to conversations that were put in the trash since then (of a user, answered by idx_conversations_trash)."""
        return self.filter(deleted_at__isnull=False, deleted_at__gte=since)

    def on_hold(self) -> "ConversationQuerySet":
        """Restrict to conversations that must not be deleted, because they or their users are on hold."""
        on_conversation, on_user = _their_holds()
        return self.filter(on_conversation | on_user)

    def without_hold(self) -> "ConversationQuerySet":
        """Leave out conversations that must not be deleted. Everything that deletes conversations asks for this."""
        on_conversation, on_user = _their_holds()
        # Two negations make two anti-joins. Negating both at once would look for holds once per conversation.
        return self.filter(~on_conversation, ~on_user)

    def make_way(self) -> None:
        """Delete expired sessions whose name is used again. Those in the trash, or on hold, only lose the name."""
        if settings.TRASH_DAYS:
            self.filter(deleted_at__isnull=False).update(session_id=None)
        self.on_hold().update(session_id=None)
        self.without_hold().delete()

    def empty(self) -> "ConversationQuerySet":
        return self.filter(~Exists(self._their_messages()))

    def without_running_reply(self) -> "ConversationQuerySet":
        return self.filter(~Exists(self._their_messages().running()))

    def last_reply_ended(self, statuses: Sequence[str]) -> "ConversationQuerySet":
        """Restrict to conversations whose newest reply that counts ended in one of these ways."""
        newest = self._their_messages().replies().active_branch().newest_first().values("status")[:1]
        return self.alias(last_status=Subquery(newest)).filter(last_status__in=statuses)

    def beyond_newest(self, count: int) -> "ConversationQuerySet":
        """Leave out each user's `count` newest conversations. Anonymous ones have no user: they all stay in."""
        newest = self.model.objects.filter(user_id=OuterRef("user_id")).newest_activity_first()
        return self.filter(~Q(id__in=newest.values("id")[:count]))

    def without_message_since_newest(self, count: int) -> "ConversationQuerySet":
        """Leave out conversations with a message since the last activity in their user's `count` newest ones.

        The predecessor saves messages without noting a turn, so the order of `beyond_newest` may be out of date.
        """
        newest = self.model.objects.filter(user_id=OuterRef("user_id")).newest_activity_first()
        last = self.alias(last_kept=Subquery(newest.values("updated_at")[count - 1 : count]))
        return last.filter(~Exists(self._their_messages().filter(created_at__gte=OuterRef("last_kept"))))

    def _their_messages(self) -> "MessageQuerySet":
        # By name, because the models import this module.
        message: type[Message] = apps.get_model("conversations", "Message")
        return message.objects.filter(conversation_id=OuterRef("id"))


class MessageQuerySet(models.QuerySet["Message"]):
    def in_conversation(self, conversation_id: UUID) -> "MessageQuerySet":
        return self.filter(conversation_id=conversation_id)

    def visible_to(self, user_id: UUID) -> "MessageQuerySet":
        """Restrict to the messages of the conversations that a user may read and write."""
        is_kept = Q(conversation__expires_at__isnull=True) | Q(conversation__expires_at__gt=Now())
        return self.filter(is_kept, conversation__user_id=user_id)

    def newest_of_each(self, conversation_ids: Sequence[UUID], most: int, budget: int) -> "RawQuerySet[Any]":
        """Return the newest active messages of each conversation, oldest first: id, role, created_at and `content_read`.

        Without outputs of tools.

        `most` bounds the messages of each conversation. `budget` bounds the bytes of all contents together, counted in the
        order of `conversation_ids` and from the newest message back: the content of what does not fit is null.
        """
        return self.raw(NEWEST_OF_EACH_SQL, [budget, list(conversation_ids), most])

    def with_words(self, loose: str, exact: str | None = None) -> "MessageQuerySet":
        """Restrict to messages with the words of these `tsquery` (answered by idx_messages_words).

        That index leaves running replies out, so this does too.
        """
        return self.filter(_with_words("messages.content", loose, exact)).exclude(status="streaming")

    def replies(self) -> "MessageQuerySet":
        return self.filter(role="assistant")

    def active_branch(self) -> "MessageQuerySet":
        """Restrict to the messages that count: of several answers or versions of a turn, the active one."""
        return self.filter(is_active=True)

    def without_outputs(self) -> "MessageQuerySet":
        """Leave out the outputs of tools, for clients that know none."""
        return self.filter(Q(tool_calls__isnull=True) | Q(role="assistant"))

    def oldest_first(self) -> "MessageQuerySet":
        return self.order_by("created_at", "id")

    def newest_first(self) -> "MessageQuerySet":
        return self.order_by("-created_at", "-id")

    def with_texts_within(self, budget: int, order: Sequence[OrderBy], columns: Sequence[str]) -> "MessageQuerySet":
        """Annotate `content_read` and so on: these columns of the first rows in this order that fit `budget` bytes, else null.

        The first row has its texts in every case. `octet_length` reads the stored size and not the text, so what does not fit
        costs nothing.
        """
        sizes = [Func(column, function="octet_length", output_field=models.BigIntegerField()) for column in columns]
        size = reduce(operator.add, sizes)
        # From the first row to this one.
        total = Window(Sum(size), order_by=list(order), frame=RowRange(None, 0))
        fits = Q(bytes_so_far__lte=budget) | Q(bytes_so_far=size)
        texts = {column: TEXT if column == "content" else F(column) for column in columns}
        read = {f"{name}_read": Case(When(fits, then=text), output_field=models.TextField()) for name, text in texts.items()}
        return self.alias(bytes_so_far=total).annotate(**read)

    def running(self) -> "MessageQuerySet":
        """Restrict to replies that are being written (answered by uq_messages_running)."""
        return self.filter(status="streaming")
