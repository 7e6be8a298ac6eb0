"""Turn the nodes of another application's conversation into the branches of ours.

Principle: a question is one node, a reply is the chain of nodes between a question and the next, because other applications
store a reply's thoughts, calls of tools and texts as nodes of their own. A reply ends where a question follows or nothing
does, and has the text and the reasoning of its chain from the question on. So every path through their tree is a path
through ours (see `replies.tree`). A message is later than the one that it follows, if need be by a microsecond.

No recursion: a conversation may be thousands of nodes deep.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from conversations.models import Role, Status
from conversations.services.history.imports.foreign.nodes import Chat, Node, UnreadableChat, joined

MAX_NODES = 100_000
# Of a reply's chain that is the beginning of several replies, each has a copy.
MAX_CHARACTERS = 64_000_000
MAX_CHAIN_STEPS = 1_000_000
STEP = timedelta(microseconds=1)
WITHOUT_TEXT = "[Empty message]"


class Link(NamedTuple):
    """A node of a reply, and those before it."""

    node: Node
    before: "Link | None"


@dataclass(slots=True, eq=False)
class Row:
    """A message of ours. `node_id` is the node that ends it."""

    node_id: str
    role: Role
    text: str
    reasoning: str
    said_at: datetime
    model: str | None
    status: Status
    finish_reason: str | None
    above: "Row | None"
    first_version: "Row | None" = None
    has_versions: bool = False
    is_active: bool = False


def read_rows(chat: Chat, begun_at: datetime) -> list[Row]:
    """Return the messages of a conversation, each after the one that it follows. Raises `UnreadableChat`."""
    if len(chat.nodes) > MAX_NODES:
        raise UnreadableChat(f"it has more than {MAX_NODES:,} messages")
    return _Reading(chat, begun_at).rows


class _Reading:
    def __init__(self, chat: Chat, begun_at: datetime) -> None:
        self.rows: list[Row] = []
        self._nodes = chat.nodes
        self._begun_at = begun_at
        # What is shown of the tree: the nodes below each one, in the order of the file, without those that are not shown.
        self._below: dict[str | None, list[str]] = defaultdict(list)
        self._shown_above: dict[str, str | None] = {}
        # The message that each node ends, or the one before it if it has no text.
        self._row_of: dict[str, Row | None] = {}
        self._versions: dict[tuple[Row | None, bool], list[Row]] = defaultdict(list)
        self._characters = self._steps = 0
        self._leave_out_hidden()
        for node_id, above, chain in self._walk():
            self._add(node_id, above, chain)
        self._mark_versions()
        self._mark_active(chat.current)

    def _leave_out_hidden(self) -> None:
        children: dict[str | None, list[str]] = defaultdict(list)
        for node_id, node in self._nodes.items():
            children[node.parent if node.parent in self._nodes else None].append(node_id)
        waiting: list[tuple[str, str | None]] = [(root, None) for root in reversed(children[None])]
        while waiting:
            node_id, above = waiting.pop()
            self._shown_above[node_id] = above
            if self._nodes[node_id].role is not None:
                self._below[above].append(node_id)
                above = node_id
            waiting += [(below, above) for below in reversed(children[node_id])]
        if len(self._shown_above) < len(self._nodes):
            raise UnreadableChat("some of its messages follow each other in a circle")

    def _walk(self) -> Iterator[tuple[str, Row | None, Link | None]]:
        """Yield the nodes that end a message, with the message above and the chain of a reply."""
        waiting: list[tuple[str, Row | None, Link | None]] = [(root, None, None) for root in reversed(self._below[None])]
        while waiting:
            node_id, above, before = waiting.pop()
            node, below = self._nodes[node_id], self._below[node_id]
            if node.role == Role.USER:
                yield node_id, above, None
                waiting += [(next_id, self._row_of[node_id], None) for next_id in reversed(below)]
                continue
            chain = Link(node, before)
            ends = not below or any(self._nodes[next_id].role == Role.USER for next_id in below)
            if ends:
                yield node_id, above, chain
            for next_id in reversed(below):
                is_question = self._nodes[next_id].role == Role.USER
                waiting.append((next_id, self._row_of[node_id], None) if is_question else (next_id, above, chain))

    def _add(self, node_id: str, above: Row | None, chain: Link | None) -> None:
        """Make the message that a node ends. A reply without text makes no message."""
        links = self._links(chain) if chain else [self._nodes[node_id]]
        node = links[-1]
        text, reasoning = joined(link.text for link in links), joined(link.reasoning for link in links)
        self._characters += len(text) + len(reasoning)
        if self._characters > MAX_CHARACTERS:
            raise UnreadableChat(f"its messages have more than {MAX_CHARACTERS:,} characters")
        if chain and not text and not reasoning:
            self._row_of[node_id] = above
            return
        said_at = next((link.said_at for link in links if link.said_at), None)
        earliest = above.said_at + STEP if above else self._begun_at
        versions = self._versions[above, chain is None]
        if versions and (said_at is None or said_at == versions[-1].said_at):
            said_at = versions[-1].said_at + STEP
        row = Row(
            node_id=node_id,
            role=Role.ASSISTANT if chain else Role.USER,
            text=text if text or chain else WITHOUT_TEXT,
            reasoning=reasoning,
            said_at=max(said_at or earliest, earliest),
            model=next((link.model for link in reversed(links) if link.model), None),
            # A complete reply has a text.
            status=Status.INTERRUPTED if node.status == Status.COMPLETE and chain and not text else node.status,
            finish_reason=node.finish_reason,
            above=above,
        )
        versions.append(row)
        self._row_of[node_id] = row
        self.rows.append(row)

    def _links(self, chain: Link) -> list[Node]:
        links: list[Node] = []
        link: Link | None = chain
        while link is not None:
            links.append(link.node)
            link = link.before
        self._steps += len(links)
        if self._steps > MAX_CHAIN_STEPS:
            raise UnreadableChat("its replies have too many branches")
        return links[::-1]

    def _mark_versions(self) -> None:
        for (_, is_question), versions in self._versions.items():
            versions.sort(key=lambda row: row.said_at)
            for row in versions:
                row.has_versions = len(versions) > 1
                row.first_version = versions[0] if is_question and row is not versions[0] else None

    def _mark_active(self, current: str | None) -> None:
        row = (self._row_at(current) if current in self._shown_above else None) or self._newest()
        while row is not None:
            row.is_active = True
            row = row.above

    def _row_at(self, node_id: str | None) -> Row | None:
        """Return the message of a node: for one that is not shown, the message before it; within a reply, its newest end."""
        if node_id is not None and self._nodes[node_id].role is None:
            node_id = self._shown_above[node_id]
        while node_id not in self._row_of and (below := self._below[node_id]):
            node_id = below[-1]
        return self._row_of.get(node_id) if node_id is not None else None

    def _newest(self) -> Row | None:
        """Return the end of the newest branch."""
        node_id: str | None = None
        while below := self._below[node_id]:
            node_id = below[-1]
        return (self._row_of.get(node_id) if node_id is not None else None) or max(
            self.rows, key=lambda row: row.said_at, default=None
        )


def columns_of(row: Row) -> dict[str, Any]:
    """Return what is stored of a message, besides its ids."""
    return {
        "role": row.role.value,
        "content": row.text,
        "reasoning": row.reasoning,
        "model_tag": row.model[:100] if row.model else None,
        "created_at": row.said_at,
        "status": row.status.value,
        "finish_reason": row.finish_reason,
        "is_active": row.is_active,
        "has_versions": row.has_versions or None,
    }
