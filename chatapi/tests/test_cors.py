"""Which pages of other origins a browser lets use the service."""

import re
from pathlib import Path

import pytest
from django.http import HttpResponse
from django.test import Client

from chatapi.tests.clients import UserClient

ORIGIN = "http://localhost:3000"


def preflight(client: Client, path: str, *, origin: str = ORIGIN, asked: str = "") -> HttpResponse:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": asked}
    return client.options(path, headers=headers)


def test_a_listed_origin_may_send_credentials(user: UserClient) -> None:
    before, answer = preflight(user, "/api/conversations"), user.get("/api/conversations", headers={"Origin": ORIGIN})
    assert (before.status_code, answer.status_code) == (200, 200)
    for response in (before, answer):
        assert response["Access-Control-Allow-Origin"] == ORIGIN
        assert response["Access-Control-Allow-Credentials"] == "true"
        assert "origin" in response["Vary"].lower()


def test_caches_learn_that_answers_differ_by_origin(user: UserClient) -> None:
    assert "origin" in user.get("/api/conversations")["Vary"].lower()
    assert "origin" not in user.get("/admin/login/").get("Vary", "").lower()


def test_an_unlisted_origin_may_not(user: UserClient) -> None:
    for response in (
        preflight(user, "/api/conversations", origin="https://elsewhere.example"),
        user.get("/api/conversations", headers={"Origin": "https://elsewhere.example"}),
    ):
        assert not [name for name in response.headers if name.startswith("Access-Control-")]


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param("authorization,content-type,idempotency-key,last-event-id,prefer,x-trace-id", id="the service's own"),
        pytest.param("accept,cache-control,last-event-id", id="EventSource polyfills"),
        pytest.param("cache-control,pragma,x-requested-with", id="HTTP clients"),
        pytest.param("content-type,user-agent", id="AI SDK"),
        pytest.param("authorization,x-stainless-lang,x-stainless-retry-count,x-stainless-timeout", id="openai"),
    ],
)
def test_headers_that_clients_send_are_allowed(user: UserClient, asked: str) -> None:
    allowed = preflight(user, "/api/conversations", asked=asked)["Access-Control-Allow-Headers"].split(", ")
    assert set(asked.split(",")) <= set(allowed)


@pytest.mark.parametrize("page", ["surfaces.md", "clients.md"])
def test_pages_may_read_every_header_that_the_documentation_names(user: UserClient, page: str) -> None:
    written = (Path(__file__).parents[2] / "docs" / page).read_text()
    named = {name.lower() for name in re.findall(r"\b[xX]-[A-Za-z]+(?:-[A-Za-z]+)+", written)}
    sent = {name.lower() for name in preflight(user, "/api/conversations")["Access-Control-Allow-Headers"].split(", ")}
    read = user.get("/api/conversations", headers={"Origin": ORIGIN})["Access-Control-Expose-Headers"]
    assert named
    assert named - sent <= {name.lower() for name in read.split(", ")}


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin", "/admin/", "/admin/login/"])
def test_no_other_origin_reads_the_admin(client: Client, path: str) -> None:
    # It reads cookies, which a browser sends along from another origin of the same site.
    for response in (preflight(client, path), client.get(path, headers={"Origin": ORIGIN})):
        assert not [name for name in response.headers if name.startswith("Access-Control-")]
