"""Tests inside a transaction may think for longer than a request: their session must not be ended meanwhile."""

import pytest
from django.db import connection


@pytest.fixture(autouse=True)
def _patient_transaction(request: pytest.FixtureRequest) -> None:
    """Give the transaction in which pytest-django runs a test as long as it needs."""
    if request.node.get_closest_marker("django_db") or "db" in request.fixturenames:
        request.getfixturevalue("_django_db_helper")
        if connection.in_atomic_block:
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
