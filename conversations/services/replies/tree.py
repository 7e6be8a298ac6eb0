"""The tree of a conversation: which message follows which, which versions there are, and what is shown after a choice.

Principle: a message is always created after the one that it follows. So the active branch, in the order of time, is a path from
the first question to the last message, and all readers of a conversation read its active rows in that order. `is_active` says
what is on the path. `left_order` is the memory: each choice gives the next number of its conversation to the messages that it
leaves. Of several versions, the one with the highest number was active last, so it comes back with the message above it.

A reply answers its `parent`. A question follows `follows_id`, usually a reply. Rows of the predecessor and of older versions
have no links, or not all. There the order of time tells: before them, the conversation had one branch.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from uuid import UUID

from conversations.models import Role, Status

GOOD = (Status.COMPLETE, Status.STOPPED)


@dataclass(frozen=True, slots=True)
class Node:
    """A message without its text. For an edited question, `parent_id` is its first version."""

    id: UUID
    role: str
    parent_id: UUID | None
    follows_id: UUID | None
    is_active: bool
    # Rows of older versions have only the first of these two, and only of the last turn.
    was_active: bool | None = None
    left_order: int | None = None
    status: str = Status.COMPLETE
    has_text: bool = True

    @property
    def is_reply(self) -> bool:
        return self.role == Role.ASSISTANT


@dataclass(slots=True)
class Changes:
    """The messages that a choice makes active, and those that it leaves."""

    activated: list[UUID] = field(default_factory=list)
    left: list[UUID] = field(default_factory=list)


class Tree:
    """All messages of a conversation, as they follow each other.

    `links` are the links that rows lacked and that their order gives: (id, parent_id, follows_id).
    """

    def __init__(self, rows: Iterable[Node]) -> None:
        """Take the rows in the order of time."""
        self._nodes: dict[UUID, Node] = {}
        self._children: dict[UUID | None, list[UUID]] = defaultdict(list)
        self.links: list[tuple[UUID, UUID | None, UUID | None]] = []
        # The last active message, and the last active question, of the rows so far.
        last: Node | None = None
        asked: Node | None = None
        for row in rows:
            node = self._linked(row, last, asked)
            if node is not row:
                self.links.append((node.id, node.parent_id, node.follows_id))
            self._nodes[node.id] = node
            self._children[self._above(node)].append(node.id)
            if node.is_active:
                last = node
                asked = asked if node.is_reply else node

    def _linked(self, row: Node, last: Node | None, asked: Node | None) -> Node:
        if row.is_reply:
            is_known = row.parent_id in self._nodes or asked is None
            return row if is_known else replace(row, parent_id=asked.id if asked else None)
        if row.follows_id in self._nodes:
            return row
        first = self._nodes.get(row.parent_id) if row.parent_id else None
        follows_id = first.follows_id if first else (last.id if last else None)
        return row if follows_id == row.follows_id else replace(row, follows_id=follows_id)

    @staticmethod
    def _above(node: Node) -> UUID | None:
        return node.parent_id if node.is_reply else node.follows_id

    def __contains__(self, message_id: object) -> bool:
        return message_id in self._nodes

    def __getitem__(self, message_id: UUID) -> Node:
        return self._nodes[message_id]

    def path_to(self, node: Node) -> list[UUID]:
        """Return the ids of the messages that lead to a message, and its own, oldest first."""
        return list(self._path_to(node))[::-1]

    def answer_to(self, question_id: UUID) -> Node | None:
        """Return the active answer to a question, else the one that was active last."""
        answers = [node for child in self._children.get(question_id, ()) if (node := self._nodes[child]).is_reply]
        if not answers:
            return None
        return max(enumerate(answers), key=lambda item: (item[1].is_active, _preference(item[1]), item[0]))[1]

    def shown_below(self, message_id: UUID) -> Node | None:
        """Return the active message that follows this one, else the one that was active last. None if nothing follows."""
        below = [self._nodes[child] for child in self._children.get(message_id, ()) if child != message_id]
        return max(enumerate(below), key=lambda item: (item[1].is_active, _preference(item[1]), item[0]))[1] if below else None

    def choose(self, chosen: Node) -> Changes:
        """Make a message active, with what it follows, and with what was active below it when it was left."""
        return Changes() if chosen.is_active else self._changes({*self._path_to(chosen), *self._remembered_below(chosen)})

    def end_at(self, last: Node) -> Changes:
        """Make a message the last active one."""
        return self._changes(set(self._path_to(last)))

    def _changes(self, wanted: set[UUID]) -> Changes:
        active = {node.id for node in self._nodes.values() if node.is_active}
        return Changes(activated=sorted(wanted - active), left=sorted(active - wanted))

    def _path_to(self, node: Node) -> Iterator[UUID]:
        seen: set[UUID] = set()
        step: Node | None = node
        # Rows that others wrote could form a circle.
        while step is not None and step.id not in seen:
            seen.add(step.id)
            yield step.id
            above = self._above(step)
            step = self._nodes.get(above) if above else None

    def _remembered_below(self, node: Node) -> Iterator[UUID]:
        below = self._choice_below(node.id)
        while below is not None:
            yield below
            below = self._choice_below(below)

    def _choice_below(self, message_id: UUID) -> UUID | None:
        """Return what was active below a message: what is remembered, else the newest, of answers the newest good one."""
        below = [self._nodes[child] for child in self._children.get(message_id, ()) if child != message_id]
        if not below:
            return None
        return max(enumerate(below), key=lambda item: (_preference(item[1]), item[0]))[1].id


def _preference(node: Node) -> tuple[int, bool, int]:
    quality = 0 if not node.is_reply or not node.has_text else 2 if node.status in GOOD else 1
    return node.left_order or 0, bool(node.was_active), quality
