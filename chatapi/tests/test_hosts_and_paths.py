"""Addresses: the host names that are answered, and slashes at the end of a path."""

import pytest

from chatapi.tests.clients import UserClient

# What a probe of Kubernetes, of a load balancer or of Docker calls the server.
HOSTS = ["10.1.2.3:8002", "evil.example", "[fd00::1]", "chat_api"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("path", ["/health", "/api/health", "/api/ready", "/api/ready/"])
def test_probes_are_answered_under_every_host_name(anonymous: UserClient, path: str, host: str) -> None:
    assert anonymous.get(path, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("path", ["/api/models", "/admin/login/", "/api/health/more"])
def test_everything_else_is_answered_under_known_names_only(anonymous: UserClient, path: str, host: str) -> None:
    assert anonymous.get(path, headers={"Host": host}).status_code == 400


def test_the_admin_keeps_its_slashes(anonymous: UserClient) -> None:
    assert anonymous.get("/admin/login/").status_code == 200
    assert anonymous.get("/").status_code == 404
    assert anonymous.get("/api/health//").status_code == 404
