"""Run a management command with throw-away settings and the tests' PostgreSQL: `python -m devstack.manage COMMAND …`."""

import sys

from devstack.testing import leave_environment, prepare_environment


def main() -> None:
    prepare_environment()
    try:
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    finally:
        leave_environment()


if __name__ == "__main__":
    main()
