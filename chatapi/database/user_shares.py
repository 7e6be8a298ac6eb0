"""How many connections of the pool one user's requests hold at once.

Requests for a row that is locked wait with a connection in hand. Without a limit, one user with a locked conversation would
take the whole pool, and every request of everybody else would fail.
"""

from chatapi.database.failures import DatabaseUnavailable
from chatapi.permits.limit import Limit
from chatapi.permits.permit import Permits
from chatapi.permits.shares import at_most

# Of the pool.
SHARE = 1 / 3
# So that two requests of a user, a list beside a send for example, never wait for each other.
LEAST = 2

LIMIT = Limit(
    what="connections of the request pool: a third of them, at least 2",
    per="user, in each worker",
    refusal=DatabaseUnavailable,
    settings=("DB_POOL_SIZE",),
)


def user_shares(pool_size: int) -> Permits:
    """Return the permits of users for the connections of a pool."""
    return Permits(LIMIT, at_most(max(LEAST, int(pool_size * SHARE))))
