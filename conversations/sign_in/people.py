"""What the provider's claims say of a person, and which of our groups they give."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings

# Not a group of the database: makes a superuser.
SUPERUSERS = "superusers"
MOST_GROUPS = 2_000
MOST_EMAIL_CHARACTERS = 254


@dataclass(frozen=True, slots=True)
class Person:
    """A person as the provider describes them. `email` is "" unless the provider says that it has verified it."""

    issuer: str
    subject: str
    email: str
    name: str
    login: str
    groups: frozenset[str]


def person_of(claims: dict[str, Any], *, issuer: str) -> Person:
    """Read the claims. What has another form than the standard's counts as absent."""
    is_verified = claims.get("email_verified") is True or claims.get("email_verified") == "true"
    email = _text(claims.get("email"))
    return Person(
        issuer=issuer,
        subject=claims["sub"],
        email=email if is_verified and "@" in email and len(email) <= MOST_EMAIL_CHARACTERS else "",
        name=_text(claims.get("name")),
        login=_text(claims.get("preferred_username")),
        groups=frozenset(
            settings.ADMIN_OIDC_GROUPS[group] for group in read_groups(claims) if group in settings.ADMIN_OIDC_GROUPS
        ),
    )


def read_groups(claims: dict[str, Any]) -> list[str]:
    """Return the groups that the claim `ADMIN_OIDC_GROUPS_CLAIM` lists. A name with dots may be a path into the claims."""
    value = _find_claim(claims, settings.ADMIN_OIDC_GROUPS_CLAIM)
    if isinstance(value, str):
        return [value]
    return [group for group in value[:MOST_GROUPS] if isinstance(group, str)] if isinstance(value, list) else []


def has_groups(claims: dict[str, Any]) -> bool:
    """Whether the claim is there at all. Some providers put it only into the user info."""
    return _find_claim(claims, settings.ADMIN_OIDC_GROUPS_CLAIM) is not None


def _find_claim(claims: dict[str, Any], name: str) -> Any:
    if name in claims:
        # Names such as https://example.com/groups have dots, too.
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _text(value: Any) -> str:
    return " ".join(value.replace("\x00", "").split()) if isinstance(value, str) else ""
