"""GET /health"""

import django.test
import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from conversations import readiness
from tests.support.client import Client


def test_health_needs_no_token(anonymous_client: Client) -> None:
    answer = anonymous_client.request("GET", "/health")
    assert (answer.status, answer.json) == (200, {"status": "ok", "ready": True})


@pytest.mark.django_db
def test_health_is_503_where_the_database_is_not_migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_is_migrated", False)
    MigrationRecorder(connection).migration_qs.filter(app="conversations").delete()
    answer = django.test.Client().get("/health")
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable", "ready": False})
    assert django.test.Client().get("/api/health").status_code == 200
