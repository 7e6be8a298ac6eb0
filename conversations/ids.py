"""Ids as text: how a UUID may be written."""

import re
from uuid import UUID

UUID_FORM = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
PLAIN_UUID_FORM = re.compile(r"[0-9a-fA-F]{32}")


def parse_id(value: str) -> UUID | None:
    """Return an id as a UUID, with or without hyphens. None if it is malformed."""
    return UUID(value) if UUID_FORM.fullmatch(value) or PLAIN_UUID_FORM.fullmatch(value) else None
