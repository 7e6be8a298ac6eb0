"""A conversation as a tree in plain Python, for tests that do the same to it as to the service."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Node:
    """A message of the reference tree. `chosen` is the child that was active last."""

    text: str
    role: str = ""
    above: "Node | None" = None
    id: Any = None
    status: str = "complete"
    below: list["Node"] = field(default_factory=list)
    chosen: "Node | None" = None

    def add(self, text: str, role: str = "", node_id: Any = None, status: str = "complete") -> "Node":
        node = Node(text, role, self, node_id, status)
        self.below.append(node)
        return node

    def choose(self) -> None:
        node: Node = self
        while node.above is not None:
            node.above.chosen = node
            node = node.above

    def path(self) -> list["Node"]:
        found: list[Node] = []
        node = self.chosen
        while node is not None:
            found.append(node)
            node = node.chosen
        return found

    def way(self) -> list["Node"]:
        """Return the messages that lead to this one, and itself."""
        found: list[Node] = []
        node: Node = self
        while node.above is not None:
            found.append(node)
            node = node.above
        return found[::-1]

    def everything(self) -> list["Node"]:
        return [node for child in self.below for node in (child, *child.everything())]
