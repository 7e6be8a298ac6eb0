"""Connect to one of a host's addresses, within the time limit of the call."""

import socket
import time
from collections.abc import Sequence

from chatapi.outgoing.calls import Call
from chatapi.outgoing.name_lookups import PATIENCE_S, Address, name_lookups

# What socket.setsockopt takes.
Option = tuple[int, int, int]

# A kept connection that a router in between has forgotten is noticed within 20 s, as the database's are.
KEEPALIVE: list[Option] = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 2))
        if hasattr(socket, name)
    ),
]


class AddressRefused(OSError):
    """The host has only addresses that this call may not connect to."""


def connect(host: str, port: int, *, call: Call | None, limit_s: float) -> socket.socket:
    """Return a socket that is connected to the host, and belongs to the call until it is detached. Raises `OSError`.

    Connecting takes `limit_s` at most. Looking the name up takes no longer than the call, or `limit_s` where there is none.
    """
    host = host.strip("[]")
    began_at = time.monotonic()
    addresses = name_lookups.find(host, port, call=call, limit_s=None if call else limit_s)
    give_up_at = time.monotonic() + limit_s
    try:
        # In half of the time: what is remembered of the host may no longer be true.
        return _connect_to_one(addresses, call, time.monotonic() + limit_s / 2)
    except OSError as failure:
        if call is not None and call.has_ended:
            raise
        try:
            again = name_lookups.find(host, port, call=call, limit_s=PATIENCE_S, newer_than=began_at)
        except OSError:
            again = addresses
        if set(again) == set(addresses) and not isinstance(failure, TimeoutError):
            raise
    return _connect_to_one(again, call, give_up_at)


def _connect_to_one(found: Sequence[Address], call: Call | None, give_up_at: float) -> socket.socket:
    # What is checked here is what the socket connects to: the name is not looked up again.
    addresses = [address for address in found if call is None or call.may_connect(address.sockaddr[0])]
    failure: OSError = AddressRefused("none of its addresses may be called")
    for number, address in enumerate(addresses):
        # Each has an equal share of the time that is left, so that a dead address does not use up the limit.
        share_s = max(0.001, (give_up_at - time.monotonic()) / (len(addresses) - number))
        try:
            return _connect_to_address(address, call, share_s)
        except OSError as problem:
            if call is not None and call.has_ended:
                raise
            name_lookups.avoid(address)
            failure = problem
    raise failure


def _connect_to_address(address: Address, call: Call | None, limit_s: float) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        for option in KEEPALIVE:
            sock.setsockopt(*option)
        if call is not None:
            call.attach(sock)
        sock.settimeout(limit_s)
        sock.connect(address.sockaddr)
    except BaseException:
        if call is not None:
            call.detach()
        sock.close()
        raise
    return sock
