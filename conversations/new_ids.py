"""The ids of new rows. Migrations name this function, so it stays where it is."""

import uuid

from uuid_utils.compat import uuid7


def new_id() -> uuid.UUID:
    """Return a UUIDv7: ids made later in this process sort later."""
    return uuid7()
