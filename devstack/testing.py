"""A pytest plugin that gives the tests their environment before Django reads it.

Where DATABASE_URL is not set, an embedded PostgreSQL is started for the run, apart from the one of `make run`.
"""

import os

from devstack.folder import data_folder
from devstack.postgres import make_fast_and_careless, start_postgres

os.environ.setdefault("SECRET_KEY", "a-secret-for-tests-only-that-is-long-enough-to-pass-every-check")
os.environ.setdefault("AUTH_SERVICE_URL", "http://auth.test")
os.environ.setdefault("INFERENCE_SERVICE_URL", "http://inference.test")
os.environ.setdefault("INTERNAL_API_KEY", "test-internal-key")
os.environ.setdefault("LOG_LEVEL", "WARNING")

if "DATABASE_URL" not in os.environ:
    _server = start_postgres(data_folder() / "test-postgres")
    make_fast_and_careless(_server)
    os.environ["DATABASE_URL"] = _server.get_uri()
