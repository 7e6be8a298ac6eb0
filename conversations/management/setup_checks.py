"""What an installation needs, checked one by one for `manage.py check_setup`.

Each check returns what it found, or raises `Wrong` with what a person must change. A detail never contains a password or a key.
"""

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.cache import cache, caches
from django.db import DatabaseError, InterfaceError, connection

from chatapi import __version__
from chatapi.auth.authentication import AuthUnavailable, validator
from chatapi.cache.shared_cache import SharedRedisCache
from chatapi.outgoing.name_lookups import name_lookups
from conversations.management.failures import reason_of
from conversations.readiness import check_readiness
from conversations.services.webhooks.outbox import Outbox
from conversations.services.webhooks.public_addresses import is_public
from conversations.sign_in.people import SUPERUSERS
from conversations.sign_in.provider import Budget, read_metadata
from conversations.sign_in.refusals import ProviderUnavailable
from inference_proxy.exceptions import UpstreamFailure
from inference_proxy.upstream.catalogue import read_models

MOST_CLOCK_DIFFERENCE_S = 2.0
CACHE_KEY = "check-setup"
LOOKUP_S = 5.0
SERVER_SQL = """
SELECT current_setting('server_version'), current_setting('server_encoding'), pg_backend_pid(),
       extract(epoch FROM clock_timestamp()),
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user), current_user,
       coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false), inet_server_addr() IS NOT NULL
"""


class Wrong(Exception):
    """A person must change something. The text says what."""


class Doubtful(Exception):
    """It works, but a person should look at it."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a check. `state` is "ok", "warning" or "failed"."""

    name: str
    state: str
    detail: str


@dataclass(frozen=True, slots=True)
class Server:
    """What PostgreSQL says of itself and of this connection."""

    version: str
    encoding: str
    process: int
    clock: float
    is_superuser: bool
    role: str
    has_tls: bool
    is_remote: bool


def run_checks() -> list[Result]:
    """Run all checks, one after another."""
    return [_run(name, check) for name, check in CHECKS.items()]


def _run(name: str, check: Callable[[], str]) -> Result:
    try:
        return Result(name, "ok", check())
    except Doubtful as doubt:
        return Result(name, "warning", str(doubt))
    except Wrong as problem:
        return Result(name, "failed", str(problem))
    except (DatabaseError, InterfaceError) as failure:
        return Result(name, "failed", reason_of(failure))


def _read_server() -> Server:
    with connection.cursor() as cursor:
        cursor.execute(SERVER_SQL)
        version, encoding, process, clock, *rest = cursor.fetchone()
    return Server(version, encoding, process, float(clock), *rest)


def check_versions() -> str:
    return f"chat-api {__version__}, Python {platform.python_version()}, Django {django.get_version()}"


def check_database() -> str:
    problem = check_readiness()["database"]
    if problem != "ok":
        raise Wrong(problem)
    server = _read_server()
    return f"PostgreSQL {server.version}, {server.encoding}"


def check_migrations() -> str:
    state = check_readiness()["migrations"]
    if state != "ok":
        raise Wrong(f"{state}: run manage.py migrate")
    return "all applied"


def check_role() -> str:
    server = _read_server()
    if server.is_superuser:
        raise Doubtful(f"the role {server.role} is a superuser: give the service a role that owns its tables and nothing else")
    return f"{server.role} is no superuser"


def check_pooler() -> str:
    server = _read_server()
    told = connection.connection.info.backend_pid
    if told == server.process:
        return "none"
    # A pooler invents the process that it tells, and lends another one.
    return f"a pooler is in between (DATABASE_PREPARED_STATEMENTS={settings.DATABASE_PREPARED_STATEMENTS})"


def check_database_tls() -> str:
    server = _read_server()
    if server.has_tls:
        return "encrypted"
    if server.is_remote:
        raise Doubtful("the connection to PostgreSQL is not encrypted: add sslmode=verify-full to DATABASE_URL")
    return "a local socket"


def check_clock() -> str:
    before = time.time()
    server = _read_server()
    difference = max(before - server.clock, server.clock - time.time(), 0.0)
    if difference > MOST_CLOCK_DIFFERENCE_S:
        raise Wrong(f"the clocks of this machine and of PostgreSQL differ by {difference:.0f} s")
    return "the clocks of this machine and of PostgreSQL agree"


def check_cache() -> str:
    if not isinstance(caches["default"], SharedRedisCache):
        raise Doubtful("no CACHE_URL: limits and remembered tokens count for each process alone")
    key = f"{CACHE_KEY}:{os.getpid()}"
    cache.set(key, "stored", 10)
    if cache.get(key) != "stored":
        raise Wrong("the shared cache does not keep what is written: see CACHE_URL, its password and its rights")
    cache.delete(key)
    return "the shared cache keeps what is written"


def check_auth() -> str:
    try:
        validator.try_service()
    except AuthUnavailable:
        raise Wrong("the auth service gives no verdict: see AUTH_SERVICE_URL, INTERNAL_API_KEY and the log") from None
    return "the auth service answers"


def check_inference() -> str:
    try:
        models = read_models()
    except UpstreamFailure as failure:
        raise Wrong(f"the inference service gives no list of models ({failure.code}): see INFERENCE_SERVICE_URL") from None
    return f"the inference service has {len(models.get('models', []))} models"


def check_webhooks() -> str:
    if not settings.WEBHOOK_URL:
        return "off"
    url = urlsplit(settings.WEBHOOK_URL)
    try:
        port = url.port or {"https": 443, "http": 80}[url.scheme]
        addresses = name_lookups.find(str(url.hostname), port, call=None, limit_s=LOOKUP_S)
    except OSError:
        raise Wrong("the host in WEBHOOK_URL has no address") from None
    if not settings.WEBHOOK_ALLOW_PRIVATE and not any(is_public(address.sockaddr[0]) for address in addresses):
        raise Wrong("the host in WEBHOOK_URL has no public address: see WEBHOOK_ALLOW_PRIVATE")
    state = Outbox().state()
    if state.dead:
        raise Doubtful(f"{state.dead:,} webhooks were given up: see the admin, or deliver_webhooks --retry-dead")
    return f"on, {state.waiting:,} wait"


def check_staff_sign_in() -> str:
    """Check who may sign in to the admin, and whether the identity provider and the groups are there."""
    factor = f"passwords with second factor {settings.ADMIN_SECOND_FACTOR}" if settings.ADMIN_PASSWORDS else "no passwords"
    if not settings.ADMIN_OIDC_ISSUER:
        return factor
    try:
        read_metadata(Budget())
    except ProviderUnavailable as failure:
        raise Wrong(f"the identity provider's metadata can't be used ({failure.code}): see ADMIN_OIDC_ISSUER") from None
    wanted = set(settings.ADMIN_OIDC_GROUPS.values()) - {SUPERUSERS}
    if missing := sorted(wanted - set(Group.objects.filter(name__in=wanted).values_list("name", flat=True))):
        raise Wrong(f"ADMIN_OIDC_GROUPS names groups that do not exist here: {', '.join(missing)}")
    return f"single sign-on, {factor}"


CHECKS: dict[str, Callable[[], str]] = {
    "versions": check_versions,
    "database": check_database,
    "migrations": check_migrations,
    "role": check_role,
    "pooler": check_pooler,
    "database_tls": check_database_tls,
    "clock": check_clock,
    "cache": check_cache,
    "auth": check_auth,
    "inference": check_inference,
    "webhooks": check_webhooks,
    "staff_sign_in": check_staff_sign_in,
}
