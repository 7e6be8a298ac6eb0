"""Print a token for the running dev stack: `python -m devstack.token [--admin] [--user UUID] [--expires-in SECONDS]`."""

import argparse
from uuid import UUID

from devstack.folder import data_folder, kept_secret
from devstack.tokens import ADMIN, ORDINARY, make_token


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m devstack.token", description="Print a token for the dev stack.")
    parser.add_argument("--admin", action="store_true", help="for the admin instead of the ordinary user")
    parser.add_argument("--user", type=UUID, help="for any other user, by id")
    parser.add_argument("--expires-in", type=int, default=86400, metavar="SECONDS", help="a day by default")
    options = parser.parse_args()
    user_id = options.user or (ADMIN.id if options.admin else ORDINARY.id)
    print(make_token(kept_secret(data_folder(), "jwt"), user_id, options.expires_in))


if __name__ == "__main__":
    main()
