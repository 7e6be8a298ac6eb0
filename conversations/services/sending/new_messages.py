"""The rows of a turn whose place in the conversation is known already: a new version of a question, a new answer to one."""

from uuid import UUID

from conversations.exceptions import MessageNotFound, NothingToRegenerate
from conversations.keyset import SortKey, after_key
from conversations.models import Message, Role, Status
from conversations.new_ids import new_id
from conversations.placeholders import WITHOUT_TEXT
from conversations.querysets import NO_HEARTBEAT, MessageQuerySet
from conversations.services.replies.leases import lease
from conversations.services.replies.stop_marks import is_marked
from conversations.services.replies.versions import (
    QUESTION_COLUMNS,
    apply_changes,
    first_version,
    last_question,
    leave_after,
    mark_versions,
    read_tree,
)
from conversations.services.sending.context import Budget, Context, build_context
from conversations.services.sending.permits import Beginning
from conversations.services.sending.statements import next_place, touch_conversation
from conversations.services.sending.turn import ReplySettings, Turn, new_turn
from conversations.services.sending.upstream_messages import History
from inference_proxy.protocols.tool_calls import read_call_id


def context_before(asked: Message, content: str, chosen: ReplySettings) -> Context:
    """Return the context for `content` if it takes the place of the question `asked`."""
    history = History(chosen.id, before=SortKey(asked.created_at, asked.id))
    return build_context(history, Budget.left_by(content, chosen.system_prompt, read_call_id(asked.tool_calls)))


def question_of(messages: MessageQuerySet, message_id: UUID | None) -> Message:
    """Return a question that is active now: that of a message, or the last one.

    Raises `MessageNotFound`, `NothingToRegenerate`.
    """
    last = last_question(messages)
    if last is not None and message_id in (None, last.id):
        _adopt_answers(messages, last)
        return last
    if message_id is None:
        raise NothingToRegenerate
    if not messages.filter(id=message_id).exclude(role=Role.SYSTEM).exists():
        raise MessageNotFound
    tree = read_tree(messages)
    question_id = tree[message_id].parent_id if tree[message_id].is_reply else message_id
    if question_id is None or question_id not in tree:
        raise NothingToRegenerate
    apply_changes(messages, tree.choose(tree[question_id]))
    return messages.only(*QUESTION_COLUMNS).get(id=question_id)


def _adopt_answers(messages: MessageQuerySet, asked: Message) -> None:
    """Set the parent of the predecessor's answers to the last question, which relied on their order only."""
    later = messages.filter(after_key(SortKey(asked.created_at, asked.id), "created_at", descending=False))
    later.filter(parent_id=None, role=Role.ASSISTANT).update(parent_id=asked.id)


def add_version(messages: MessageQuerySet, asked: Message, content: str, key: str, fingerprint: str) -> Message:
    """Save a new version of an active question, in its place."""
    leave_after(messages, asked, including=True)
    mark_versions(messages, [asked.id, first_version(asked)])
    version = Message(
        id=new_id(),
        conversation_id=asked.conversation_id,
        role=Role.USER,
        content=content,
        created_at=next_place(asked.conversation_id),
        # The parent of every later version is the first version.
        parent_id=first_version(asked),
        follows_id=asked.follows_id,
        has_versions=True,
        idempotency_key=key or None,
        request_fingerprint=fingerprint or None,
    )
    Message.objects.bulk_create([version])
    return messages.only(*QUESTION_COLUMNS).get(id=version.id)


def add_answer(
    beginning: Beginning,
    chosen: ReplySettings,
    asked: Message,
    content: str,
    context: Context,
    *,
    key: str = "",
    fingerprint: str = "",
    sent: int = 0,
) -> Turn:
    """Save an empty new answer to an existing question. It is active at once unless the active answer has text.

    `sent` is the number of new messages from the user.
    """
    messages = Message.objects.in_conversation(chosen.id)
    others = list(messages.filter(parent_id=asked.id).replies().values_list("id", flat=True))
    mark_versions(messages, others)
    has_answer = messages.filter(id__in=others).active_branch().exclude(WITHOUT_TEXT, tool_calls__isnull=True).exists()
    if others and not has_answer:
        leave_after(messages, asked)
    goes_on = not is_marked(chosen.id, key)
    reply = Message(
        id=new_id(),
        conversation_id=chosen.id,
        role=Role.ASSISTANT,
        content="",
        model_tag=chosen.model_tag,
        status=Status.STREAMING if goes_on else Status.STOPPED,
        created_at=next_place(chosen.id),
        parent_id=asked.id,
        has_versions=True if others else None,
        is_active=not has_answer,
        heartbeat_at=NO_HEARTBEAT,
        worker=lease.worker_id,
        context=chosen.summary_of(context),
        idempotency_key=key or None,
        request_fingerprint=fingerprint or None,
        request_options=chosen.terms.options,
    )
    beginning.claim(reply.id)
    Message.objects.bulk_create([reply])
    touch_conversation(chosen.id, chosen.new_title(content), sent=sent)
    return new_turn(chosen, asked.id, reply.id, context, goes_on=goes_on)
