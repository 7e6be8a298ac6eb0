"""GET /api/health and /api/ready"""

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from chatapi import __version__
from chatapi.tests.clients import UserClient
from conversations import readiness


def test_alive_without_touching_anything(django_assert_num_queries: Any, db: None, outbound: Any) -> None:
    with django_assert_num_queries(0):
        response = Client().get("/api/health")
    body = {"status": "ok", "ready": True, "service": "chat-api", "version": __version__}
    assert (response.status_code, response.json()) == (200, body)
    assert len(outbound.calls) == 0


def test_a_bad_token_is_not_looked_at(outbound: Any) -> None:
    assert UserClient("nonsense").get("/api/health").status_code == 200
    assert len(outbound.calls) == 0


@pytest.mark.django_db
def test_ready() -> None:
    response = Client().get("/api/ready")
    checks = {"database": "ok", "migrations": "ok"}
    assert (response.status_code, response.json()) == (200, {"status": "ok", "ready": True, "checks": checks})


@pytest.mark.django_db
def test_a_migrated_database_stays_so_for_a_query(monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any) -> None:
    monkeypatch.setattr(readiness, "_is_migrated", False)
    Client().get("/api/ready")
    with django_assert_num_queries(1):
        assert Client().get("/api/ready").status_code == 200


@pytest.mark.django_db
def test_not_ready_before_it_is_migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_is_migrated", False)
    [(app, newest)] = MigrationLoader(connection).graph.leaf_nodes("conversations")
    MigrationRecorder.Migration.objects.filter(app=app, name=newest).delete()
    response = Client().get("/api/ready")
    assert (response.status_code, response.json()["ready"]) == (503, False)
    assert response.json()["checks"] == {"database": "ok", "migrations": "pending"}
