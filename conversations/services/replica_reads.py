"""Read from a replica what a user or a member of staff may read there.

A user's lists have all that the user did, at every node: after a request that may change something, the user reads from the
primary for a while (see `chatapi.database.recent_writes`). A reply ends without a request, perhaps at another node. So the
replica must also say that it knows of no running reply of the user: then it has the ends of all replies, except of those that
began lately. The request that began them counts as a recent write.
"""

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from chatapi.database.recent_writes import staff_key, user_key
from chatapi.database.replica import read
from conversations.reply_duration import longest_reply_s

T = TypeVar("T")

# Materialized: few conversations had a turn lately, and each is looked up in uq_messages_running.
NONE_RUNNING_SQL = """
WITH recent AS MATERIALIZED (
    SELECT id FROM conversations WHERE user_id = %(user_id)s AND updated_at > now() - make_interval(secs => %(recent_s)s)
)
SELECT NOT EXISTS (SELECT FROM messages JOIN recent ON recent.id = messages.conversation_id WHERE messages.status = 'streaming')
"""


def read_for_user(user_id: UUID, function: Callable[[], T]) -> T:
    """Call a function that only reads what a user did, with the replica if it is fresh enough. It may be called twice."""
    values = {"user_id": user_id, "recent_s": longest_reply_s()}
    return read(function, reader=user_key(user_id), condition=(NONE_RUNNING_SQL, values))


def read_for_anyone(function: Callable[[], T]) -> T:
    """Call a function that only reads, and may miss the writes of the last seconds, with the replica."""
    return read(function, reader="")


def read_for_staff(staff_id: int, function: Callable[[], T]) -> T:
    """Call a function that only reads, for a member of staff. It may be called twice."""
    return read(function, reader=staff_key(staff_id))
