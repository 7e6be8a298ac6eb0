"""Which addresses are in the public internet: without WEBHOOK_ALLOW_PRIVATE, no webhook goes to another.

A name may resolve to any address: this machine, the network around it, the metadata service of a cloud. So the address that a
connection is made to is checked, and not the name (see `chatapi.outgoing.connecting`).
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

# Networks whose addresses contain an IPv4 address that a gateway connects to (RFC 6052, RFC 3056, RFC 4380).
NAT64 = IPv6Network("64:ff9b::/96")
NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")


def is_public(written: str) -> bool:
    """Say whether an IP address, as text, belongs to the public internet."""
    try:
        address = ip_address(written)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address.scope_id or address in NAT64_LOCAL or address.is_site_local:
            return False
        inner = _inner_address(address)
        if inner is not None:
            return _is_public(inner)
    return _is_public(address)


def _inner_address(address: IPv6Address) -> IPv4Address | None:
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved)
