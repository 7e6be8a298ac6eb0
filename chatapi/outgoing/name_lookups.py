"""The addresses of the services that this one calls.

Callers can't limit or interrupt the operating system's resolver. So a thread of its own asks it, one per name at a time: on an
event loop all look-ups share ten threads, and one slow name would fill them. Callers of one name share the answer, each waits
for it as long as its call lasts, and it is remembered for `FRESH_S`. While the resolver is in trouble, an older one serves.

The drivers of PostgreSQL and Redis ask the resolver themselves. `share_lookups` has them ask here too.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

from chatapi.outgoing.calls import Call

FRESH_S = 10.0
# How long an answer serves while there is no newer one, and how long a caller that has one waits for the newer one.
STALE_S = 300.0
PATIENCE_S = 1.0
# An address that could not be reached comes after the others for this long.
AVOIDED_S = 30.0
# How long a driver waits for a name that has no older answer. Drivers try again, and find the answer that has come meanwhile.
DRIVER_LIMIT_S = 2.0
# The resolver says that a name does not exist, or has no address any more.
VANISHED = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


class Address(NamedTuple):
    family: int
    sockaddr: Any


@dataclass(slots=True)
class _Lookup:
    """A question to the resolver that is not answered yet, and then its answer."""

    waiting: list[threading.Event] = field(default_factory=list)
    addresses: list[Address] = field(default_factory=list)
    failure: OSError | None = None


@dataclass(slots=True)
class _Name:
    addresses: list[Address] = field(default_factory=list)
    found_at: float = float("-inf")
    lookup: _Lookup | None = None


class NameLookups:
    """What the resolver has said to this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[tuple[str, int], _Name] = {}
        self._avoided_until: dict[Address, float] = {}

    def find(
        self, host: str, port: int, *, call: Call | None, limit_s: float | None, newer_than: float = float("-inf")
    ) -> list[Address]:
        """Return the addresses of a host, those that could not be reached last. Raises `OSError`.

        Waits until the call ends, or for `limit_s`. `newer_than` is a time (monotonic) before which an answer is too old.
        """
        if literal := _literal(host, port):
            return [literal]
        woken = threading.Event()
        with self._lock:
            name = self._names.setdefault((host, port), _Name())
            age_s = time.monotonic() - name.found_at
            if age_s < FRESH_S and name.found_at > newer_than:
                return self._sorted(name.addresses)
            old = name.addresses if age_s < STALE_S else []
            lookup = name.lookup or self._begin(host, port, name)
            lookup.waiting.append(woken)
        limits = [limit for limit in (limit_s, PATIENCE_S if old else None) if limit is not None]
        wait = woken.wait if call is None else partial(call.wait, woken)
        wait(min(limits, default=None))
        with self._lock:
            found, failure = lookup.addresses, lookup.failure
            if not found and failure is None:
                with contextlib.suppress(ValueError):
                    lookup.waiting.remove(woken)
                failure = TimeoutError("the resolver did not answer in time")
            has_vanished = isinstance(failure, socket.gaierror) and failure.errno in VANISHED
            if not found and old and not has_vanished:
                found = old
            if found:
                return self._sorted(found)
        assert failure is not None
        raise failure

    def avoid(self, address: Address) -> None:
        """Note that an address could not be reached."""
        now = time.monotonic()
        with self._lock:
            self._avoided_until = {other: until for other, until in self._avoided_until.items() if until > now}
            self._avoided_until[address] = now + AVOIDED_S

    def clear(self) -> None:
        with self._lock:
            self._names, self._avoided_until = {}, {}

    def _sorted(self, addresses: list[Address]) -> list[Address]:
        now = time.monotonic()
        return sorted(addresses, key=lambda address: self._avoided_until.get(address, 0.0) > now)

    def _begin(self, host: str, port: int, name: _Name) -> _Lookup:
        lookup = _Lookup()
        thread = threading.Thread(target=self._look_up, args=(host, port, name, lookup), name=f"look-up {host}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            raise OSError("there is no thread left to look up a name") from None
        name.lookup = lookup
        return lookup

    def _look_up(self, host: str, port: int, name: _Name, lookup: _Lookup) -> None:
        addresses: list[Address] = []
        failure: OSError | None = None
        try:
            for family, _, _, _, sockaddr in _ask_system(host, port, 0, socket.SOCK_STREAM):
                addresses.append(Address(family, sockaddr))
        except OSError as problem:
            failure = problem
        except UnicodeError:
            failure = socket.gaierror(socket.EAI_NONAME, "the host is no name")
        except BaseException:
            failure = socket.gaierror(socket.EAI_FAIL, "the look-up failed unexpectedly")
            raise
        finally:
            with self._lock:
                name.lookup = None
                lookup.addresses, lookup.failure = addresses, failure
                if addresses:
                    name.addresses, name.found_at = addresses, time.monotonic()
                for woken in lookup.waiting:
                    woken.set()


def _literal(host: str, port: int) -> Address | None:
    """Return the address that a host names by itself. The resolver would need one of its threads to say the same."""
    try:
        address: IPv4Address | IPv6Address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return Address(socket.AF_INET, (host, port))
    # A scope must be translated.
    return None if address.scope_id else Address(socket.AF_INET6, (host, port, 0, 0))


name_lookups = NameLookups()
_systems_own: Callable[..., Any] | None = None


def share_lookups() -> None:
    """Replace `socket.getaddrinfo` in this process, so that no name of a driver's holds up another or waits without limit."""
    global _systems_own
    if _systems_own is None:
        _systems_own = socket.getaddrinfo
        socket.getaddrinfo = _find_for_driver


def _ask_system(*arguments: Any) -> list[Any]:
    answers: list[Any] = (_systems_own or socket.getaddrinfo)(*arguments)
    return answers


def _find_for_driver(
    host: Any,
    port: Any,
    family: int = 0,
    type: int = 0,  # noqa: A002  # its callers' name
    proto: int = 0,
    flags: int = 0,
) -> list[Any]:
    if not isinstance(host, str) or not str(port).isdigit() or type != socket.SOCK_STREAM or flags:
        return _ask_system(host, port, family, type, proto, flags)
    # Always a new answer, if there is one in time: after a fail-over the name leads elsewhere at once.
    found = name_lookups.find(host, int(port), call=None, limit_s=DRIVER_LIMIT_S, newer_than=time.monotonic())
    wanted = [address for address in found if family in (socket.AF_UNSPEC, address.family)]
    if not wanted:
        raise socket.gaierror(socket.EAI_NONAME, "the name has no address of this family")
    return [(address.family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address.sockaddr) for address in wanted]
