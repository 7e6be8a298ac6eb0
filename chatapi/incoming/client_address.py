"""Whose request it is, by network address, behind proxies or not.

Principle: `X-Forwarded-For` and `X-Forwarded-Proto` may be invented by the client, unless a proxy of ours wrote them. They
count only where the peer of the connection is in TRUSTED_PROXIES. Each such proxy appends the address that it was called
from, so the client is the right-most address that is not a trusted proxy; what is left of that is the client's own invention.
"""

import logging
import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.deprecation import MiddlewareMixin

logger = logging.getLogger(__name__)

# A longer chain of proxies of our own is a mistake, and reading one must not take long.
MOST_PROXIES = 16
# An address as proxies write it: bare, or with a port, which for IPv6 needs brackets.
WRITTEN_ADDRESS = re.compile(r"\[(?P<bracketed>[^\]]+)\](:\d+)?|(?P<with_port>[\d.]+):\d+|(?P<bare>.+)")
IPV6_SITE_BITS = 64

Address = IPv4Address | IPv6Address


class ClientAddressMiddleware(MiddlewareMixin):
    """Make REMOTE_ADDR the client's address, and drop an `X-Forwarded-Proto` that no proxy of ours has written."""

    _has_warned = False

    def process_request(self, request: HttpRequest) -> None:
        peer = _read_remote_address(request.META.get("REMOTE_ADDR", ""))
        forwarded_for = request.META.get("HTTP_X_FORWARDED_FOR", "")
        if peer is not None and is_trusted(peer):
            request.META["REMOTE_ADDR"] = str(client_behind(peer, forwarded_for))
        else:
            request.META.pop("HTTP_X_FORWARDED_PROTO", None)
            if forwarded_for and not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "X-Forwarded-For is ignored because the sender is not in TRUSTED_PROXIES; "
                    "all clients behind an unlisted proxy share one rate limit"
                )


def client_behind(peer: Address, forwarded_for: str) -> Address:
    """Return the right-most address that is not a trusted proxy, the left-most readable one where all are."""
    client = peer
    for written in reversed(forwarded_for.rsplit(",", MOST_PROXIES)[-MOST_PROXIES:]):
        if not is_trusted(client) or (address := read_address(written.strip())) is None:
            break
        client = address
    return client


def read_address(written: str) -> Address | None:
    match = WRITTEN_ADDRESS.fullmatch(written)
    if match is None:
        return None
    try:
        address = ip_address(match["bracketed"] or match["with_port"] or match["bare"])
    except ValueError:
        return None
    # A socket for both protocols shows IPv4 peers so.
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


# Each request asks several times, and a client makes many requests.
_read_remote_address = lru_cache(maxsize=1024)(read_address)


def is_trusted(address: Address) -> bool:
    return any(address in network for network in settings.TRUSTED_PROXIES)


def address_group(request: HttpRequest) -> str:
    """Return what limits count as one client: an IPv4 address, or an IPv6 /64, which is what one customer gets."""
    return _group_of(request.META.get("REMOTE_ADDR", ""))


def address_group_of(environ: dict[str, Any]) -> str:
    """Return the same before Django has the request, and so before `ClientAddressMiddleware`."""
    remote_address: str = environ.get("REMOTE_ADDR", "")
    peer = _read_remote_address(remote_address)
    if peer is not None and settings.TRUSTED_PROXIES and is_trusted(peer):
        remote_address = str(client_behind(peer, environ.get("HTTP_X_FORWARDED_FOR", "")))
    return _group_of(remote_address)


def connecting_group(peer: str) -> str | None:
    """Return the same for a connection, before its first request. None for a proxy of ours, which speaks for many clients."""
    address = _read_remote_address(peer)
    return None if address is not None and is_trusted(address) else _group_of(peer)


@lru_cache(maxsize=1024)
def _group_of(remote_address: str) -> str:
    address = _read_remote_address(remote_address)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, IPV6_SITE_BITS), strict=False))
    return str(address or "unknown")
