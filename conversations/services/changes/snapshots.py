"""Snapshots of transactions: which had ended at a moment. PostgreSQL's type is `pg_snapshot`.

A later snapshot of the same server contains all transactions of an earlier one. So a snapshot is a position in the history of
commits, which neither a time nor the number of a transaction is: a long transaction has a low number and commits late.
"""

from bisect import bisect_left
from dataclasses import dataclass

MOST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All transactions below `end` had ended, except those that were `running`, in ascending order."""

    end: int
    running: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        """Read PostgreSQL's form, `xmin:xmax:xip,xip`."""
        _, end, running = text.split(":")
        return cls(int(end), tuple(map(int, running.split(","))) if running else ())

    def __str__(self) -> str:
        first = self.running[0] if self.running else self.end
        return f"{first}:{self.end}:{','.join(map(str, self.running))}"

    def contains(self, transaction: int) -> bool:
        if transaction >= self.end:
            return False
        place = bisect_left(self.running, transaction)
        return place == len(self.running) or self.running[place] != transaction

    def covers(self, other: "Snapshot") -> bool:
        """Whether this one contains all transactions of another snapshot of the same server."""
        ran = set(other.running)
        return self.end >= other.end and all(one in ran for one in self.running if one < other.end)

    def cut(self, end: int) -> "Snapshot":
        """Return the part below `end`."""
        return self if end >= self.end else Snapshot(end, self.running[: bisect_left(self.running, end)])
