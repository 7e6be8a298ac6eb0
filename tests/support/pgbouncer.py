"""PgBouncer in transaction mode before a PostgreSQL server: with PGBOUNCER=1, the servers under test connect through it.

Each transaction may run on another of its few connections, so what a session keeps beyond a transaction is lost or seen by
others.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from devstack.postgres import make_private_folder, popen_options
from devstack.processes import free_port

from .waiting import wait_until

# Debian installs it where only root's PATH leads.
PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
CONFIGURATION = """
[databases]
* = host={host} port={port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 5
max_client_conn = 2000
query_wait_timeout = 5
server_login_retry = 1
"""


@contextmanager
def pgbouncer(database_url: str) -> Iterator[str]:
    """Run PgBouncer before the server of this URL; give the URL of the same database behind it."""
    assert PROGRAM, "PGBOUNCER is set, but pgbouncer is not installed"
    server, listen_port = conninfo_to_dict(database_url), free_port()
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="chat-api-pgbouncer-") as folder:
        Path(folder).chmod(0o711)
        home = Path(folder, "pgbouncer")
        make_private_folder(home)
        configuration = Path(folder, "pgbouncer.ini")
        text = CONFIGURATION.format(host=server["host"], port=server.get("port", 5432), listen_port=listen_port)
        configuration.write_text(text)
        configuration.chmod(0o644)
        url = f"postgresql://postgres@127.0.0.1:{listen_port}/{server['dbname']}"
        process = subprocess.Popen([PROGRAM, "--quiet", str(configuration)], **popen_options())
        try:
            wait_until(lambda: process.poll() is not None or _answers(url), "PgBouncer answers")
            yield url
        finally:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
