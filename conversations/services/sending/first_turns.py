"""Begin a turn together with its new conversation, or with a change of it, so that a refused send leaves nothing behind."""

from collections.abc import Callable
from uuid import UUID

from django.db import transaction

from chatapi.database.failures import is_outcome_unknown
from conversations.services.replies.store import live_replies
from conversations.services.sending.turn import Turn

# Creates a conversation in the caller's transaction, or finds the one that a simultaneous request has created.
Opening = Callable[[], UUID]


def begin_together(begin: Callable[[], Turn]) -> Turn:
    """Run a function that creates or changes a conversation and begins a turn in it. Both are saved, or neither.

    The function must not need the list of models: reading it may call the inference service. Raises what the function raises.
    """
    turn: Turn | None = None
    try:
        with transaction.atomic():
            turn = begin()
    except BaseException as failure:
        if turn is not None and turn.request is not None:
            may_be_saved = is_outcome_unknown(failure) or not isinstance(failure, Exception)
            (live_replies.note_never_begun if may_be_saved else live_replies.expect_no_longer)(turn.reply_id)
        raise
    return turn
