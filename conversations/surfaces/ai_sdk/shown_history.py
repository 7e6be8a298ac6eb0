"""Find the history that a client shows in the conversation's tree, so that the model gets what the user sees.

A request of the AI SDK brings the messages that the page shows. Their ids say which branch that is: it may be the active one,
end earlier, or have been left by another tab. Replies have the service's ids, questions those of the client (see
`named_questions`). The last message with an id determines the branch. All others must be on it, without gaps. Only replies
without text may be missing, because a client that got an error shows none. The beginning may be missing too, because a page
need not load a whole chat. Messages without an id are not compared: old clients have none for replies.

A reply that calls tools, their outputs and the reply to these are one message to the SDK. It keeps the id of the first reply.

Usually the client shows the active branch. Then its newest rows are all that is read.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self
from uuid import UUID

from django.db.models import Case, Value, When

from conversations.exceptions import HistoryMismatch
from conversations.ids import parse_id
from conversations.models import Role
from conversations.placeholders import WITHOUT_TEXT
from conversations.querysets import MessageQuerySet
from conversations.services.replies.tree import Node, Tree
from conversations.services.replies.versions import load_tree
from conversations.surfaces.ai_sdk.requests import Shown
from conversations.surfaces.ai_sdk.responses import name_of_question

# In an error.
MOST_IDS = 1000
# How many more rows than shown messages are read at first: replies without text may be between them.
MORE_ROWS = 20
NAMES = ("id", "role", "parent_id", "idempotency_key", "parent__idempotency_key")


class Step(NamedTuple):
    """A message that the client may show, with all ids by which it may call it. `first_id` is the first version of a question.

    Of several replies with the outputs between them, `id` and `first_id` are those of the newest row.
    """

    id: UUID
    first_id: UUID
    role: str
    names: frozenset[str]
    has_text: bool
    is_output: bool = False
    # Oldest first.
    replies: tuple[UUID, ...] = ()

    @property
    def may_be_missing(self) -> bool:
        return self.role == Role.ASSISTANT and not self.has_text

    def joins(self, newer: Self) -> bool:
        """Whether this row and the row behind it are one message."""
        return self.role == newer.role == Role.ASSISTANT and (self.is_output or newer.is_output)

    def joined(self, older: Self) -> Self:
        """Return this message with what is before it in the same message."""
        names, replies = self.names | older.names, older.replies + self.replies
        return self._replace(names=names, replies=replies, has_text=self.has_text or older.has_text)


def find_place(messages: MessageQuerySet, shown: Sequence[Shown], *, known_id: UUID | None) -> UUID | None:
    """Return the message that a new question follows, if it is sent behind the shown ones.

    `known_id` is the first version of the question, if the service has it: then the shown messages must be those before it.
    Returns None if none of the shown messages has an id and nothing is active. Raises `HistoryMismatch`. One query if the
    active branch is shown, else four at most.
    """
    branch = _find_branch(messages, shown, known_id)
    return branch[0].id if branch else None


def find_replies(messages: MessageQuerySet, shown: Sequence[Shown]) -> Sequence[UUID]:
    """Return the replies in the last shown message, oldest first. Raises `HistoryMismatch`. Queries as `find_place`."""
    branch = _find_branch(messages, shown, None)
    return branch[0].replies if branch else ()


def _find_branch(messages: MessageQuerySet, shown: Sequence[Shown], known_id: UUID | None) -> list[Step]:
    """Return what the client shows, newest first."""
    branch = _active_branch(messages, len(shown) + MORE_ROWS)
    if known_id is not None:
        asked = next((number for number, step in enumerate(branch) if step.first_id == known_id), len(branch))
        branch = branch[asked + 1 :]
    if branch and _agree(shown, branch):
        return branch
    branch = _Names(messages).branch_of(shown, known_id)
    if not _agree(shown, branch):
        raise _mismatch(messages)
    return branch


def find_first_question(messages: MessageQuerySet) -> UUID | None:
    """Return the first version of a conversation's first question, or None if there are no messages yet.

    Raises `HistoryMismatch` if the conversation begins with a reply, which no question can replace.
    """
    active = messages.active_branch().exclude(role=Role.SYSTEM).oldest_first()
    first = active.only("id", "role", "parent_id").first()
    if first is None:
        return None
    if first.role != Role.USER:
        raise _mismatch(messages)
    return first.parent_id or first.id


def _agree(shown: Sequence[Shown], branch: Sequence[Step]) -> bool:
    """Return whether the shown messages are the end of a branch, whose newest message comes first."""
    at, last_id = 0, None
    for message in reversed(shown):
        if message.id is None:
            at += at < len(branch) and branch[at].role == message.role
            continue
        if at and message.id != last_id and message.id in branch[at - 1].names:
            # Another page of the history began in the middle of this message.
            continue
        last_id = message.id
        while at < len(branch) and branch[at].may_be_missing and message.id not in branch[at].names:
            at += 1
        if at == len(branch) or message.id not in branch[at].names:
            return False
        at += 1
    return True


def _active_branch(messages: MessageQuerySet, most: int) -> list[Step]:
    has_text = Case(When(WITHOUT_TEXT, tool_calls__isnull=True, then=Value(False)), default=Value(True))
    has_tools = Case(When(tool_calls__isnull=False, then=Value(True)), default=Value(False))
    rows = messages.active_branch().exclude(role=Role.SYSTEM).newest_first().annotate(has_text=has_text, has_tools=has_tools)
    return _joined(_step_of(row) for row in rows.values(*NAMES, "has_text", "has_tools")[:most])


def _joined(rows: Iterable[Step]) -> list[Step]:
    """Return the messages that a client shows for these rows. Both newest first."""
    steps: list[Step] = []
    newer: Step | None = None
    for row in rows:
        if newer is not None and row.joins(newer):
            steps[-1] = steps[-1].joined(row)
        else:
            steps.append(row)
        newer = row
    return steps


def _step_of(row: dict[str, Any]) -> Step:
    ids, first_id = [row["id"]], row["id"]
    if row["role"] == Role.USER and row["has_tools"]:
        return _output_step(row["id"])
    if row["role"] == Role.USER:
        first_id = row["parent_id"] or row["id"]
        # A version with a name of its own is another question to the client.
        ids += [row["idempotency_key"]] if row["idempotency_key"] else [row["parent_id"], row["parent__idempotency_key"]]
    names = frozenset(str(each) for each in ids if each)
    replies = (row["id"],) if row["role"] == Role.ASSISTANT else ()
    return Step(row["id"], first_id, row["role"], names, row["has_text"], replies=replies)


def _output_step(output_id: UUID) -> Step:
    # It belongs to the answer.
    return Step(output_id, output_id, Role.ASSISTANT, frozenset(), has_text=True, is_output=True)


class _Names:
    """All messages of a conversation, and what clients call them. All versions of a question may have each other's names."""

    def __init__(self, messages: MessageQuerySet) -> None:
        self._messages = messages
        self._tree: Tree = load_tree(messages)
        self._first_version: dict[UUID, UUID] = {}
        self._keys: dict[UUID, str | None] = {}
        # In the order of time.
        self._versions: dict[UUID, list[UUID]] = defaultdict(list)
        sent = messages.filter(role=Role.USER)
        self._outputs = set(sent.filter(tool_calls__isnull=False).values_list("id", flat=True))
        questions = sent.filter(tool_calls__isnull=True).oldest_first()
        for message_id, parent_id, key in questions.values_list("id", "parent_id", "idempotency_key"):
            # A message that has arrived since the tree was read is not known.
            if message_id in self._tree:
                self._keys[message_id] = key
                self._first_version[message_id] = parent_id or message_id
                self._versions[parent_id or message_id].append(message_id)
        self._named = {name: each for each, key in self._keys.items() for name in (str(each), key) if name}

    def branch_of(self, shown: Sequence[Shown], known_id: UUID | None) -> list[Step]:
        """Return what ends with the last shown message that has an id, or what is before a known question, newest first."""
        if known_id is not None:
            path = self._tree.path_to(self._tree[known_id])[:-1] if known_id in self._tree else []
        else:
            last = max((number for number, message in enumerate(shown) if message.id), default=None)
            if last is None:
                return []
            end = self._find(shown[last].id or "", is_answered=any(each.role != Role.USER for each in shown[last + 1 :]))
            path = self._tree.path_to(end)
        return _joined(self._step(node) for each in reversed(path) if (node := self._tree[each]).role != Role.SYSTEM)

    def _find(self, name: str, *, is_answered: bool) -> Node:
        reply_id = parse_id(name)
        if reply_id is not None and reply_id in self._tree and reply_id not in self._keys:
            return self._end_of(self._tree[reply_id])
        named = self._named.get(name)
        if named is None:
            raise _mismatch(self._messages)
        versions = self._versions[self._first_version[named]]
        ours = [self._tree[each] for each in versions if each == named or self._keys[each] is None]
        asked = max(enumerate(ours), key=lambda item: (item[1].is_active, item[1].left_order or 0, item[0]))[1]
        answer = self._tree.answer_to(asked.id)
        # If the page shows no answer, it shows none that has text.
        return self._end_of(answer) if answer is not None and (is_answered or not answer.has_text) else asked

    def _end_of(self, node: Node) -> Node:
        """Return the last row of the message that begins with a reply or goes on with it."""
        while (below := self._tree.shown_below(node.id)) and (below.id in self._outputs or node.id in self._outputs):
            node = below
        return node

    def _step(self, node: Node) -> Step:
        if node.id in self._outputs:
            return _output_step(node.id)
        first_id = self._first_version.get(node.id, node.id)
        versions = self._versions.get(first_id, [node.id])
        names = {name for each in versions for name in (str(each), self._keys.get(each)) if name}
        replies = (node.id,) if node.is_reply else ()
        return Step(node.id, first_id, node.role, frozenset(names), node.has_text, replies=replies)


def _mismatch(messages: MessageQuerySet) -> HistoryMismatch:
    newest = messages.active_branch().without_outputs().exclude(role=Role.SYSTEM).newest_first().values(*NAMES)[:MOST_IDS]
    ids = [name_of_question(row) if row["role"] == Role.USER else str(row["id"]) for row in newest]
    return HistoryMismatch(ids[::-1])
