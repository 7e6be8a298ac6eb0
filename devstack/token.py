"""The stand-in auth service's users and tokens; prints a token with `python -m devstack.token [--admin]`."""

import argparse
import time
import uuid
from dataclasses import asdict, dataclass
from typing import Any

import jwt

from devstack.folder import devstack_folder, keys_in

ALGORITHM = "HS256"
ISSUER = "devstack"
DAY_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class User:
    id: str
    email: str
    name: str
    is_admin: bool


ORDINARY_USER = User("00000000-0000-4000-8000-000000000001", "asha@example.org", "Asha Rao", is_admin=False)
ADMIN_USER = User("00000000-0000-4000-8000-000000000002", "admin@example.org", "Vikram Admin", is_admin=True)


def user_with_id(user_id: str, *, is_admin: bool) -> User:
    """Return the user with an id: one of the two above, or an invented one."""
    for known in (ORDINARY_USER, ADMIN_USER):
        if user_id == known.id and is_admin == known.is_admin:
            return known
    return User(user_id, f"{user_id}@example.org", f"User {user_id[:8]}", is_admin)


class TokenRefused(Exception):
    """A token is not valid. The text is the `reason` in the auth service's answer."""


class TokenIssuer:
    """Sign and check tokens."""

    def __init__(self, signing_key: str) -> None:
        self._key = signing_key

    def mint(self, user: User, *, expires_in_s: float = DAY_S) -> str:
        now = int(time.time())
        claims = {"iss": ISSUER, "sub": user.id, "iat": now, "exp": int(now + expires_in_s), "jti": str(uuid.uuid4())}
        profile = {name: value for name, value in asdict(user).items() if name != "id"}
        return jwt.encode({**claims, **profile}, self._key, ALGORITHM)

    def check(self, token: str) -> tuple[User, dict[str, Any]]:
        """Return a token's user and claims. Raises TokenRefused."""
        try:
            claims = jwt.decode(token, self._key, [ALGORITHM], issuer=ISSUER, options={"require": ["exp", "sub"]})
            user = User(claims["sub"], claims["email"], claims["name"], claims["is_admin"])
        except jwt.ExpiredSignatureError:
            raise TokenRefused("token expired") from None
        except jwt.InvalidSignatureError:
            raise TokenRefused("invalid signature") from None
        except jwt.DecodeError:
            raise TokenRefused("malformed token") from None
        except (jwt.InvalidTokenError, KeyError):
            raise TokenRefused("invalid claims") from None
        return user, claims


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m devstack.token", description="Print a token for the dev stack.")
    parser.add_argument("--admin", action="store_true", help="the token of an admin")
    parser.add_argument("--user", type=uuid.UUID, metavar="UUID", help="the token of the user with this id")
    parser.add_argument("--expires-in", type=float, default=3600, metavar="SECONDS", help="default: 3600")
    arguments = parser.parse_args()
    default = ADMIN_USER if arguments.admin else ORDINARY_USER
    user = user_with_id(str(arguments.user), is_admin=arguments.admin) if arguments.user else default
    issuer = TokenIssuer(keys_in(devstack_folder()).token_signing_key)
    print(issuer.mint(user, expires_in_s=arguments.expires_in))


if __name__ == "__main__":
    main()
