"""Whose request it is, behind proxies or not."""

import logging
from ipaddress import ip_network
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from chatapi.incoming.client_address import ClientAddressMiddleware, address_group


@pytest.fixture
def trust(settings: Any) -> Any:
    def name(*proxies: str) -> None:
        settings.TRUSTED_PROXIES = tuple(ip_network(proxy) for proxy in proxies)

    return name


def seen(peer: str, forwarded_for: str | None = None, **headers: str) -> HttpRequest:
    """Return a request as views see it."""
    if forwarded_for is not None:
        headers["HTTP_X_FORWARDED_FOR"] = forwarded_for
    request = RequestFactory().get("/", REMOTE_ADDR=peer, **headers)  # type: ignore[arg-type]
    ClientAddressMiddleware(lambda _: HttpResponse())(request)
    return request


def test_by_default_no_proxy_is_trusted(settings: Any) -> None:
    assert settings.TRUSTED_PROXIES == ()
    assert seen("10.0.0.1", "203.0.113.7").META["REMOTE_ADDR"] == "10.0.0.1"


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("203.0.113.9", "203.0.113.7", "203.0.113.9"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        # What a client invents stands on the left of what the proxy appends.
        ("10.0.0.1", "1.1.1.1, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.9, 203.0.113.7", "203.0.113.7"),
        # Two proxies of ours.
        ("10.0.0.1", "1.1.1.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        # What is no address ends the search at the last hop that is known.
        ("10.0.0.1", "203.0.113.7, nonsense", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7,, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", ", ".join(["203.0.113.7", *["10.0.0.2"] * 2000]), "10.0.0.2"),
        ("fd00::1", "203.0.113.7", "203.0.113.7"),
    ],
)
def test_the_right_most_address_that_is_no_proxy_of_ours(trust: Any, peer: str, forwarded_for: str | None, client: str) -> None:
    trust("10.0.0.0/8", "fd00::/8")
    assert seen(peer, forwarded_for).META["REMOTE_ADDR"] == client


@pytest.mark.parametrize("peer", ["", "unix:", "not an address"])
def test_a_peer_without_an_address_is_trusted_in_nothing(trust: Any, peer: str) -> None:
    trust("0.0.0.0/0")
    request = seen(peer, "203.0.113.7")
    assert (request.META["REMOTE_ADDR"], address_group(request)) == (peer, "unknown")


def test_only_a_proxy_of_ours_says_that_it_was_https(trust: Any) -> None:
    trust("10.0.0.0/8")
    assert seen("10.0.0.1", HTTP_X_FORWARDED_PROTO="https").is_secure()
    assert not seen("10.0.0.1", HTTP_X_FORWARDED_PROTO="http").is_secure()
    assert not seen("203.0.113.7", HTTP_X_FORWARDED_PROTO="https").is_secure()


@pytest.mark.parametrize(
    ("one", "other", "is_one_client"),
    [
        ("203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("203.0.113.7", "::ffff:203.0.113.7", True),
        ("2001:db8:0:1::7", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::7", "2001:db8:0:2::7", False),
    ],
)
def test_an_ipv6_customer_is_one_client(one: str, other: str, is_one_client: bool) -> None:
    assert (address_group(seen(one)) == address_group(seen(other))) is is_one_client


def test_a_proxy_that_is_not_named_is_noticed_once(caplog: pytest.LogCaptureFixture) -> None:
    middleware = ClientAddressMiddleware(lambda _: HttpResponse())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            middleware(RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="203.0.113.7"))
    assert [record.name for record in caplog.records] == ["chatapi.incoming.client_address"]
    assert "TRUSTED_PROXIES" in caplog.text
    assert "203.0.113.7" not in caplog.text
