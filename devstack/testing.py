"""A pytest plugin: settings for the tests and, unless DATABASE_URL is set, a temporary PostgreSQL server.

Loaded with `-p devstack.testing`, before pytest-django reads the settings. The workers of pytest-xdist inherit DATABASE_URL,
so all of a run use one server.
"""

import os
from collections.abc import Generator
from contextlib import ExitStack

import pytest

from devstack.postgres import temporary_postgres
from devstack.watcher import kill_children_at_the_end

SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "chatapi.settings",
    "SECRET_KEY": "a-key-for-tests-that-is-long-enough-and-protects-nothing-0123456789",
    "AUTH_SERVICE_URL": "http://auth.test",
    "INFERENCE_SERVICE_URL": "http://inference.test",
    "INTERNAL_API_KEY": "test-internal-key",
}

# What CI may skip: parts of reasons, and why.
SKIPPED_IN_CI = (
    # Another target of the Makefile, with packages of Debian that not every machine can have.
    "make test-cluster runs it",
    "Debian packages are missing",
    # Programs that check deploy/ and that need a cluster's or a machine's own set-up.
    "Docker Compose",
    "kubectl is not installed",
    "systemd-analyze is not installed",
    # A clone without history has no older version to run beside.
    "the repository's history is not here",
)

_started = ExitStack()


def prepare_environment() -> None:
    """Set the environment variables that are not set yet. Start PostgreSQL if DATABASE_URL is one of them."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    # Hundreds of processes import the same modules, and pytest rewrites each test module, so each is compiled once.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if "DATABASE_URL" not in os.environ:
        os.environ["DATABASE_URL"] = _started.enter_context(temporary_postgres()).url()


def leave_environment() -> None:
    """Stop PostgreSQL if `prepare_environment` started it."""
    _started.close()


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None]:
    # A wrapper runs before pytest-django's own hook, which imports the settings.
    kill_children_at_the_end()
    prepare_environment()
    return (yield)


def pytest_unconfigure() -> None:
    leave_environment()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail what is skipped in CI, so that no part of the suite is missing there unnoticed."""
    report = yield
    if report.skipped and "CI" in os.environ and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(text in reason for text in SKIPPED_IN_CI):
            report.outcome = "failed"
            report.longrepr = (
                f"{reason}\nCI must run this. If it can't, add the reason to SKIPPED_IN_CI in devstack/testing.py."
            )
    return report


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with slow tests first, so that no process runs a long file alone at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
