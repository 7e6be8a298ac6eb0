"""Signing in at the admin of the real server: hashing must not hold up anyone else."""

import http.client
import re
import urllib.parse

from tests.support.client import Client
from tests.support.parallel import at_once
from tests.support.server import Server


def sign_in(service: Server, address: str) -> int:
    """Try to sign in as the browser does, and return the status."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    connection.request("GET", "/admin/login/")
    form = connection.getresponse()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.read().decode())
    cookie = form.headers["Set-Cookie"].partition(";")[0]
    assert token
    body = urllib.parse.urlencode({"csrfmiddlewaretoken": token[1], "username": address, "password": "wrong"})
    headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/admin/login/", body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_many_attempts_at_once_are_mostly_refused_and_others_are_served(service: Server, client: Client) -> None:
    statuses = at_once(lambda number: sign_in(service, f"guess-{number}"), 30)
    # Ten an address and minute, of which eight at a time are let in.
    assert set(statuses) <= {200, 429, 503}
    assert 1 <= statuses.count(200) <= 10
    assert client.get("/api/conversations")["items"] == []
