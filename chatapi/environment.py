"""The service's configuration, read once from environment variables.

Principle: nothing is guessed. An unset variable takes its documented default; a value that does not parse stops the start
with one line that names the variable and says what it takes. This module imports nothing of Django, so that the settings,
the server's configuration and the tests can all read it.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

DATABASE_SCHEMES = ("postgres", "postgresql", "postgresql+asyncpg")
CACHE_SCHEMES = ("redis", "rediss", "unix")
CACHE_OPTIONS = frozenset(
    {"client_name", "db", "ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"}
)
# Printable ASCII; whatever else an address may hold, an admin's needs not.
EMAIL_FORM = re.compile(r"[!-?A-~]+@[!-?A-~]+")
INFERENCE_PROTOCOLS = ("nanochat", "openai")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# What the predecessor called them. Its names keep working; where both are set, ours counts.
EARLIER_NAMES = {"ADMIN_EMAILS": "ADMIN_EMAIL", "AUTH_CACHE_SECONDS": "AUTH_CACHE_TTL_SECONDS"}
PERIOD_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hour": 3600, "d": 86400, "day": 86400}


class EnvironmentProblem(Exception):
    """A variable is missing or malformed; the text names it."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in so many seconds."""

    requests: int
    period_s: int


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    name: str
    user: str
    password: str
    host: str
    port: str
    options: dict[str, str]


class EnvironmentReader:
    """Typed access to a mapping of environment variables."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str, default: str = "") -> str:
        return self._variables.get(self._name_set(name), default).strip()

    def _name_set(self, name: str) -> str:
        """Return the name under which a variable is set: its own, or the predecessor's."""
        earlier = EARLIER_NAMES.get(name, name)
        return earlier if name not in self._variables and earlier in self._variables else name

    def required(self, name: str, purpose: str) -> str:
        value = self.text(name)
        if not value:
            raise EnvironmentProblem(f"{name} is not set; it is {purpose}")
        return value

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value not in choices:
            raise EnvironmentProblem(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        return value

    def log_level(self, name: str) -> str:
        value = self.text(name, "INFO")
        if value.upper() not in LOG_LEVELS:
            raise EnvironmentProblem(f"{name} must be one of {', '.join(LOG_LEVELS)}, not {value!r}")
        return value.upper()

    def flag(self, name: str, default: bool) -> bool:
        value = self.text(name, str(default)).lower()
        if value in ("true", "1", "yes", "on"):
            return True
        if value in ("false", "0", "no", "off"):
            return False
        raise EnvironmentProblem(f"{name} must be true or false, not {value!r}")

    def whole(self, name: str, default: int, *, least: int, most: int = 2**31 - 1) -> int:
        value = self.text(name, str(default))
        if not re.fullmatch(r"\d{1,10}", value) or not least <= int(value) <= most:
            raise EnvironmentProblem(f"{self._name_set(name)} must be a whole number from {least} to {most}, not {value!r}")
        return int(value)

    def whole_or_none(self, name: str, *, least: int, most: int) -> int | None:
        """Return a whole number, None where the variable is not set or set to nothing."""
        return self.whole(name, 0, least=least, most=most) if self.text(name) else None

    def number_or_none(self, name: str, *, least: float, most: float) -> float | None:
        """Return a number, None where the variable is not set or set to nothing."""
        value = self.text(name)
        if not value:
            return None
        if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value) or not least <= float(value) <= most:
            raise EnvironmentProblem(f"{name} must be a number from {least} to {most}, not {value!r}")
        return float(value)

    def seconds(self, name: str, default: float, *, least: float = 0.05) -> float:
        value = self.text(name, str(default))
        if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value) or float(value) < least:
            raise EnvironmentProblem(f"{name} must be a number of seconds, {least} or more, not {value!r}")
        return float(value)

    def several(self, name: str, default: str = "") -> list[str]:
        return [part.strip() for part in self.text(name, default).split(",") if part.strip()]

    def service_url(self, name: str, default: str) -> str:
        """Return an http(s) base URL without a trailing slash."""
        value = self.text(name, default).rstrip("/")
        _check_http_url(name, value)
        return value

    def path(self, name: str, default: str) -> str:
        """Return a path to put behind a base URL; "" stands for the base URL's own."""
        value = self.text(name, default)
        if value and not re.fullmatch(r"(/[\w.~%!$&'()*+,;=:@-]*)+", value, re.ASCII):
            raise EnvironmentProblem(f"{name} must be a path such as /generate, or empty, not {value!r}")
        return "" if value == "/" else value

    def origins(self, name: str, default: str) -> list[str]:
        """Return browser origins (scheme, host and port, no path)."""
        origins = [origin.rstrip("/") for origin in self.several(name, default)]
        for origin in origins:
            _check_http_url(name, origin)
            if urlsplit(origin).path:
                raise EnvironmentProblem(
                    f"{name} takes origins such as https://chat.example.com, without a path, not {origin!r}"
                )
        return origins

    def rate(self, name: str, default: str) -> Rate | None:
        """Return a rate such as `60/min`; None where the variable is set to nothing."""
        value = self.text(name, default)
        if not value:
            return None
        match = re.fullmatch(r"(\d{1,9})/(\w+)", value)
        if not match or match[2] not in PERIOD_SECONDS or int(match[1]) < 1:
            raise EnvironmentProblem(f"{name} must look like 60/min (s, min, h or d), or be empty for no limit, not {value!r}")
        return Rate(requests=int(match[1]), period_s=PERIOD_SECONDS[match[2]])

    def database(self, name: str, default: str) -> DatabaseAddress:
        # The value may hold a password, so the message never repeats it.
        form = f"{name} must look like postgresql://user:password@host:5432/database"
        try:
            url = urlsplit(self.text(name, default))
            port = str(url.port or "")
            options = dict(parse_qsl(url.query, strict_parsing=bool(url.query)))
        except ValueError:
            raise EnvironmentProblem(form) from None
        database = unquote(url.path[1:])
        if url.scheme not in DATABASE_SCHEMES or not database or "/" in database:
            raise EnvironmentProblem(form)
        if url.scheme == "postgresql+asyncpg" and "ssl" in options:
            # asyncpg's name for it; libpq refuses parameters that it doesn't know.
            options["sslmode"] = options.pop("ssl")
        if unknown := sorted(set(options) - _libpq_parameters()):
            # They would make every connection fail, later.
            raise EnvironmentProblem(
                f"{name} has parameters that PostgreSQL's client library does not know: {', '.join(map(repr, unknown))}; "
                "remove them (asyncpg's own have no counterpart here)"
            )
        host = options.pop("host", "") or unquote(url.hostname or "")
        return DatabaseAddress(
            name=database,
            user=unquote(url.username or ""),
            password=unquote(url.password or ""),
            host=host,
            port=options.pop("port", "") or port,
            options=options,
        )

    def trusted(self, name: str, *, may_be_folder: bool = False) -> str:
        """Return the path of a file (or, if allowed, a folder) of certificates in PEM format; "" where there is none."""
        # Not at the top: the server's configuration imports this module before gevent replaces what `ssl` uses.
        import ssl

        value = self.text(name)
        if not value or (may_be_folder and Path(value).is_dir()):
            return value
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=value)
        except (OSError, ValueError):
            raise EnvironmentProblem(f"{name} must be a readable file of certificates in PEM format, not {value!r}") from None
        return value

    def cache_url(self, name: str) -> str:
        """Return an address with only options that are understood: a misspelt one would switch a check off unnoticed."""
        # The value may hold a password, so the message never repeats it.
        value = self.text(name)
        try:
            url = urlsplit(value)
            options = dict(parse_qsl(url.query, strict_parsing=bool(url.query)))
            is_usable = url.scheme in CACHE_SCHEMES and (url.port or 1) > 0
        except ValueError:
            is_usable = False
        if value and not is_usable:
            raise EnvironmentProblem(f"{name} must look like redis://host:6379/0 or rediss://user:password@host:6379/0")
        for option in sorted(set(options) - CACHE_OPTIONS) if value else ():
            raise EnvironmentProblem(f"{name} may end with {', '.join(sorted(CACHE_OPTIONS))}, not with {option!r}")
        if value and (file := options.get("ssl_ca_certs")) and not os.access(file, os.R_OK):
            raise EnvironmentProblem(f"{name} names a file of certificates that can't be read: {file}")
        return value

    def emails(self, name: str) -> frozenset[str]:
        """Return e-mail addresses in lower case."""
        addresses = self.several(name)
        for address in addresses:
            if not EMAIL_FORM.fullmatch(address):
                raise EnvironmentProblem(
                    f"{self._name_set(name)} takes e-mail addresses in ASCII, separated by commas, not {address!r}"
                )
        return frozenset(address.lower() for address in addresses)

    def networks(self, name: str) -> tuple[IPv4Network | IPv6Network, ...]:
        """Return addresses and networks such as `10.0.0.7, 10.1.0.0/16, fd00::/8`."""
        networks = []
        for written in self.several(name):
            try:
                networks.append(ip_network(written))
            except ValueError:
                form = "IP addresses and networks such as 10.1.0.0/16 (its last bits 0), separated by commas"
                raise EnvironmentProblem(f"{name} takes {form}, not {written!r}") from None
        return tuple(networks)


def _libpq_parameters() -> set[str]:
    # Imported here: gunicorn's configuration reads this module before gevent has patched what psycopg needs.
    from psycopg import pq

    return {option.keyword.decode() for option in pq.Conninfo.get_defaults()}


def _check_http_url(name: str, value: str) -> None:
    try:
        url = urlsplit(value)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and (url.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or url.query or url.fragment:
        raise EnvironmentProblem(f"{name} must be an http or https address, not {value!r}")


def has_domain(url: str, domain: str) -> bool:
    """Tell whether a URL's host is below a domain."""
    return (urlsplit(url).hostname or "").endswith(f".{domain}")
