"""PostgreSQL: the backend, pools, sessions, statements, failures, the replica. Only readiness knows a table."""
