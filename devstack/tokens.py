"""The users of the dev stack, and their tokens: real JWTs, signed and checked."""

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt

ALGORITHM = "HS256"


@dataclass(frozen=True, slots=True)
class StandInUser:
    id: UUID
    email: str
    name: str
    is_admin: bool


ORDINARY = StandInUser(UUID("11111111-1111-4111-8111-111111111111"), "mira@example.com", "Mira Example", is_admin=False)
ADMIN = StandInUser(UUID("22222222-2222-4222-8222-222222222222"), "ada@example.com", "Ada Admin", is_admin=True)
USERS = {user.id: user for user in (ORDINARY, ADMIN)}


def make_token(key: str, user_id: UUID, expires_in_s: int) -> str:
    """Return a signed token; `expires_in_s` may be negative, for a token that has expired already."""
    now = int(time.time())
    return jwt.encode({"sub": str(user_id), "iat": now, "exp": now + expires_in_s}, key, algorithm=ALGORITHM)


def check_token(key: str, token: str) -> tuple[StandInUser, dict[str, Any]]:
    """Return a token's user and claims. Raises `jwt.InvalidTokenError`."""
    claims = jwt.decode(token, key, algorithms=[ALGORITHM], options={"require": ["exp", "sub"]})
    try:
        user_id = UUID(claims["sub"])
    except ValueError:
        raise jwt.InvalidTokenError("the subject is not a user id") from None
    # Any id is a user here, so that one can play several without registering them.
    return USERS.get(user_id) or StandInUser(user_id, f"{user_id}@example.com", "Somebody", is_admin=False), claims
