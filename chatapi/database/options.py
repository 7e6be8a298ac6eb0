"""Django's settings for a connection to PostgreSQL."""

from typing import Any

from chatapi.environment import DatabaseUrl

# A machine that vanishes (a power cut, a cut cable) closes no connection. Without these, TCP waits for it for 15 minutes. They
# count for TCP only: the milliseconds until sent data must be acknowledged, and the seconds of silence after which the other
# end must prove that it is there.
PATIENT = {"tcp_user_timeout": "10000", "keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "2"}
# For a server that another one can replace at once.
IMPATIENT = {"tcp_user_timeout": "3000", "keepalives_idle": "2", "keepalives_interval": "1", "keepalives_count": "2"}
# Per worker. One more asks how far the replica is.
REPLICA_CONNECTIONS = 4


def connection_settings(
    address: DatabaseUrl, *, pool: dict[str, Any], connect_timeout_s: int = 5, network: dict[str, str] = PATIENT
) -> dict[str, Any]:
    """Return an entry of Django's `DATABASES`. The parameters of the address override these."""
    if address.has_several_hosts:
        # Per server. A request waits for a connection for the pool's timeout, which must suffice for a second server.
        connect_timeout_s = 2
    return {
        "ENGINE": "chatapi.database",
        "NAME": address.name,
        "USER": address.user,
        "PASSWORD": address.password,
        "HOST": address.host,
        "PORT": address.port,
        # The pool requires that each use returns its connection, and checks each connection before the next use (see
        # `chatapi.database.pools`). So requests do not get a dead connection after a restart of PostgreSQL.
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **network,
            **address.options,
            "connect_timeout": address.options.get("connect_timeout", str(connect_timeout_s)),
            "application_name": address.options.get("application_name", "chat-api"),
            # Send parameters separately from the statement: PostgreSQL's log quotes failed statements, which must not contain
            # users' text. Django uses no named prepared statements, so PgBouncer works too.
            "server_side_binding": True,
            "pool": pool,
        },
    }


def replica_settings(address: DatabaseUrl) -> dict[str, Any]:
    """Return what differs from the primary's settings in a connection to the replica.

    The pool is small and gives up soon, because the primary answers instead. It checks no connection: each is asked how far the
    replica is before it is used.
    """
    pool = {"min_size": 0, "max_size": REPLICA_CONNECTIONS, "timeout": 1, "max_idle": 60, "reconnect_timeout": 2}
    settings = connection_settings(address, pool=pool, connect_timeout_s=2, network=IMPATIENT)
    return {**settings, "CONN_HEALTH_CHECKS": False}
