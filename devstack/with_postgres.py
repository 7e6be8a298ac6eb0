"""Run a command with DATABASE_URL set to the tests' PostgreSQL: `python -m devstack.with_postgres COMMAND [ARGUMENT …]`."""

import os
import subprocess
import sys

from devstack.folder import data_folder
from devstack.postgres import start_postgres


def main() -> int:
    server = start_postgres(data_folder() / "test-postgres")
    return subprocess.run(sys.argv[1:], env={**os.environ, "DATABASE_URL": server.get_uri()}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
