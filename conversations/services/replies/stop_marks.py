"""Stops that overtake the send whose reply they mean.

A stop may arrive while its send still waits: for its body, for the auth service, in a queue, for a lock, or in the network. It
finds nothing to stop, so it leaves a mark on the conversation under the lock that each send takes. The send meets the mark in
the statement that saves its reply, which is then saved as stopped. A mark with a key is for the send with that Idempotency-Key,
for 30 s. A mark without one is for the sends that had arrived at a server: a later send has nothing to do with it. A
conversation has one mark, the newest.
"""

from uuid import UUID

from django.db import transaction
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from chatapi.incoming.arrival import seconds_since_arrival
from conversations.models import Conversation, Message

# Whether a stop came before the send that it is for, by the row of its conversation, which the send has locked.
IS_MARKED_SQL = """
(stop_marked_at IS NOT NULL AND stop_marked_at > clock_timestamp() - interval '30 seconds'
 AND CASE WHEN stop_marked_key IS NULL
     THEN stop_marked_at > least(now(), clock_timestamp() - make_interval(secs => %(waited_s)s))
     ELSE stop_marked_key = %(key)s END)
"""


def mark_stop(conversation_id: UUID, key: str) -> UUID | None:
    """Leave a mark for a send that has not been saved yet. Return the reply that runs by then, if there is one, instead."""
    with transaction.atomic():
        # Waits for a send that is being saved.
        locked = Conversation.objects.filter(id=conversation_id).select_for_update(no_key=True)
        if not locked.values_list("id", flat=True):
            return None
        running_id = Message.objects.in_conversation(conversation_id).running().values_list("id", flat=True).first()
        if running_id is None or key:
            Conversation.objects.filter(id=conversation_id).update(stop_marked_at=Now(), stop_marked_key=key or None)
        return running_id


def is_marked(conversation_id: UUID, key: str) -> bool:
    """Return whether a stop waits for the reply that is about to be saved. The caller holds the conversation's lock."""
    sql = IS_MARKED_SQL.replace("%(waited_s)s", "%s").replace("%(key)s", "%s")
    values = [seconds_since_arrival(), key or None]
    marked = Conversation.objects.filter(id=conversation_id).annotate(is_marked=RawSQL(sql, values))  # noqa: S611
    return bool(marked.values_list("is_marked", flat=True).first())
