"""A pytest plugin: settings for the tests and, unless DATABASE_URL is set, a real PostgreSQL.

Loaded with `-p devstack.testing`, before pytest-django reads the settings.
"""

import os
from collections.abc import Generator

import pytest

from devstack.folder import devstack_folder
from devstack.locks import FileLock
from devstack.postgres import Cluster
from devstack.watcher import kill_children_at_the_end

SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "chatapi.settings",
    "SECRET_KEY": "a-key-for-tests-that-is-long-enough-and-protects-nothing-0123456789",
    "AUTH_SERVICE_URL": "http://auth.test",
    "INFERENCE_SERVICE_URL": "http://inference.test",
    "INTERNAL_API_KEY": "test-internal-key",
}
# Tests make thousands of small commits, which need not survive a power cut.
CLUSTER_OPTIONS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "300"}
MOST_RUNS_AT_ONCE = 20

_in_use: list[Cluster] = []


def prepare_environment() -> None:
    """Set what is not set, and start the tests' PostgreSQL where no DATABASE_URL says otherwise."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if "DATABASE_URL" not in os.environ:
        cluster = Cluster(devstack_folder() / "test-postgres", CLUSTER_OPTIONS)
        cluster.start()
        _in_use.append(cluster)
        os.environ["DATABASE_URL"] = cluster.url(_claim_database(cluster))


def _claim_database(cluster: Cluster) -> str:
    """Return a database of our own, so that runs at the same time don't drop each other's; locked until this process ends."""
    for number in range(MOST_RUNS_AT_ONCE):
        if FileLock(cluster.folder / f"run-{number}.lock").acquire():
            name = f"chat{number or ''}"
            cluster.create_database(name)
            return name
    raise RuntimeError(f"{MOST_RUNS_AT_ONCE} test runs already use {cluster.folder}.")


def leave_environment() -> None:
    """Stop the tests' PostgreSQL, unless another run uses it; without this it would stop a moment after this process."""
    while _in_use:
        _in_use.pop().stop()


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None]:
    # A wrapper runs before pytest-django's own hook, which imports the settings.
    kill_children_at_the_end()
    prepare_environment()
    return (yield)


def pytest_unconfigure() -> None:
    leave_environment()
