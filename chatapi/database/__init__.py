"""PostgreSQL: the backend, pools, sessions, statements, failures, the replica. Nothing here knows a table."""
