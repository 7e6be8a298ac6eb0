"""Who sent a request, as views see it: `request.user`."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Caller:
    """A user of the auth service."""

    id: UUID
    is_admin: bool

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def pk(self) -> UUID:
        return self.id
