"""Typed access to environment variables: a method for each form that a value may have."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from chatapi.environment.database_url import DATABASE_ROLES, REPLICA_ROLES, DatabaseUrl, read_database_url
from chatapi.environment.problem import EnvironmentProblem
from chatapi.environment.urls import (
    NOT_IN_URLS,
    bind_address,
    browser_origin,
    check_cache_url,
    is_allowed_host,
    split_http_url,
)

HEADER_NAME_FORM = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
TAG_PAIR_FORM = re.compile(r"([^\s=]{1,100})=(\S{2,64})\s+(\S{2,64})")
# Printable ASCII only. Admins need no other addresses.
EMAIL_FORM = re.compile(r"[!-?A-~]+@[!-?A-~]+")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# The predecessor's names of these variables still work. If both names are set, the new one wins.
EARLIER_NAMES = {"ADMIN_EMAILS": "ADMIN_EMAIL", "AUTH_CACHE_SECONDS": "AUTH_CACHE_TTL_SECONDS"}
PERIOD_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hour": 3600, "d": 86400, "day": 86400}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `requests` requests in `period_s` seconds."""

    requests: int
    period_s: int


class EnvironmentReader:
    """Typed access to a mapping of environment variables."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str, default: str = "") -> str:
        value = self._variables.get(self._name_set(name), default).strip()
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            # Python reads such bytes as lone surrogates, which can be neither sent nor stored.
            raise EnvironmentProblem(f"{self._name_set(name)} must be text in UTF-8")
        return value

    def header_value(self, name: str) -> str:
        """Return a text that can be sent as an HTTP header, or "" if the variable is empty."""
        value = self.text(name)
        if not re.fullmatch(r"[ -~]{0,4096}", value):
            # The message does not repeat the value, because it is a secret.
            raise EnvironmentProblem(f"{name} must have at most 4096 characters, all of them printable ASCII")
        return value

    def _name_set(self, name: str) -> str:
        """Return the name that is set: the variable's own or the predecessor's."""
        earlier = EARLIER_NAMES.get(name, name)
        return earlier if name not in self._variables and earlier in self._variables else name

    def required(self, name: str, purpose: str) -> str:
        value = self.text(name)
        if not value:
            raise EnvironmentProblem(f"{name} must be set to {purpose}")
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
        if not re.fullmatch(r"[0-9]{1,10}", value) or not least <= int(value) <= most:
            raise EnvironmentProblem(f"{self._name_set(name)} must be a whole number from {least} to {most}, not {value!r}")
        return int(value)

    def whole_or_none(self, name: str, *, least: int, most: int) -> int | None:
        """Return a whole number, or None if the variable is unset or empty."""
        return self.whole(name, 0, least=least, most=most) if self.text(name) else None

    def number_or_none(self, name: str, *, least: float, most: float) -> float | None:
        """Return a number, or None if the variable is unset or empty."""
        value = self.text(name)
        if not value:
            return None
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value) or not least <= float(value) <= most:
            raise EnvironmentProblem(f"{name} must be a number from {least} to {most}, not {value!r}")
        return float(value)

    def seconds(self, name: str, default: float, *, least: float = 0.05) -> float:
        value = self.text(name, str(default))
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value) or float(value) < least:
            raise EnvironmentProblem(f"{name} must be a number of seconds, at least {least}, not {value!r}")
        return float(value)

    def several(self, name: str, default: str = "") -> list[str]:
        return [part.strip() for part in self.text(name, default).split(",") if part.strip()]

    def names(self, name: str) -> dict[str, str]:
        """Return `{name: other name}` of comma-separated pairs."""
        pairs = [pair.partition("=") for pair in self.several(name)]
        if any(not (one.strip() and other.strip()) for one, _, other in pairs):
            raise EnvironmentProblem(f"{name} must be comma-separated pairs of names: name=other")
        return {one.strip(): other.strip() for one, _, other in pairs}

    def tag_pairs(self, name: str) -> list[list[str]]:
        """Return `[model pattern, opening tag, closing tag]` of each pair."""
        found = [TAG_PAIR_FORM.fullmatch(pair) for pair in self.several(name)]
        pairs = [list(match.groups()) for match in found if match]
        if len(pairs) < len(found):
            raise EnvironmentProblem(f"{name} must be comma-separated pairs of tags for models: model=<opening> <closing>")
        return pairs

    def _several_of(self, form: str, fits: Callable[[str], object], name: str, default: str = "") -> list[str]:
        """Return texts that all fit, which the message calls `form`."""
        values = self.several(name, default)
        if wrong := [value for value in values if not fits(value)]:
            raise EnvironmentProblem(f"{self._name_set(name)} must be a comma-separated list of {form}, not {wrong[0]!r}")
        return values

    def header_names(self, name: str) -> list[str]:
        """Return names of HTTP headers in lower case."""
        return [header.lower() for header in self._several_of("names of headers", HEADER_NAME_FORM.fullmatch, name)]

    def choices(self, name: str, choices: tuple[str, ...]) -> frozenset[str]:
        """Return several of these choices, or none."""
        return frozenset(self._several_of(", ".join(choices), choices.__contains__, name))

    def service_url(self, name: str, default: str) -> str:
        """Return an http(s) base URL without a trailing slash."""
        value = self.text(name, default)
        split_http_url(name, value)
        return value.rstrip("/")

    def optional_url(self, name: str) -> str:
        """Return an http(s) base URL without a trailing slash, or "" if the variable is empty."""
        return self.service_url(name, "") if self.text(name) else ""

    def receiver_url(self, name: str, *, may_be_plain: bool) -> str:
        """Return the https address (also http, if it may be plain) to post to, or "" if the variable is empty."""
        value = self.text(name)
        try:
            url = urlsplit(value)
            is_usable = bool(url.hostname) and url.port != 0 and not url.fragment and not NOT_IN_URLS.search(value)
        except ValueError:
            is_usable = False
        schemes = ("https", "http") if may_be_plain else ("https",)
        if value and not (is_usable and url.scheme in schemes):
            # The message does not repeat the value, because it may contain a key.
            raise EnvironmentProblem(f"{name} must be an {' or '.join(schemes)} URL without a fragment")
        return value

    def sentry_dsn(self, name: str) -> str:
        """Return the address of a Sentry project, or "" if the variable is empty."""
        value = self.text(name)
        # The message does not repeat the value, because it contains a key.
        if value and not re.fullmatch(r"https?://[^/@\s]+@[^/@\s]+(/[^\s?#]*)?/[0-9]+", value):
            raise EnvironmentProblem(f"{name} must have the form https://key@host/project")
        return value

    def path(self, name: str, default: str) -> str:
        """Return a path to append to a base URL. "" means the base URL itself."""
        value = self.text(name, default)
        if value and not re.fullmatch(r"(/[\w.~%!$&'()*+,;=:@-]*)+", value, re.ASCII):
            raise EnvironmentProblem(f"{name} must be a path such as /generate, or empty, not {value!r}")
        return "" if value == "/" else value

    def origins(self, name: str, default: str) -> list[str]:
        """Return browser origins (scheme, host and port, no path)."""
        return [browser_origin(name, origin.rstrip("/")) for origin in self.several(name, default)]

    def allowed_hosts(self, name: str, default: str) -> list[str]:
        """Return host names as Django compares them with those of requests."""
        hosts = self._several_of("host names without scheme, port and path", is_allowed_host, name, default)
        if not hosts:
            raise EnvironmentProblem(f"{name} must name at least one host")
        return hosts

    def bind_address(self, name: str, default: str) -> str:
        """Return an address or host name to listen at."""
        return bind_address(name, self.text(name) or default)

    def rate(self, name: str, default: str) -> Rate | None:
        """Return a rate such as `60/min`, or None if the variable is empty."""
        value = self.text(name, default)
        if not value:
            return None
        match = re.fullmatch(r"([0-9]{1,9})/(\w+)", value)
        if not match or match[2] not in PERIOD_SECONDS or int(match[1]) < 1:
            raise EnvironmentProblem(
                f"{name} must be a rate such as 60/min (s, min, h or d), or empty for no limit, not {value!r}"
            )
        return Rate(requests=int(match[1]), period_s=PERIOD_SECONDS[match[2]])

    def database(self, name: str, default: str) -> DatabaseUrl:
        return read_database_url(name, self.text(name, default), DATABASE_ROLES)

    def replica(self, name: str) -> DatabaseUrl | None:
        """Return the address of one or several standbys, or None if the variable is empty."""
        return read_database_url(name, self.text(name), REPLICA_ROLES) if self.text(name) else None

    def trusted(self, name: str, *, may_be_folder: bool = False) -> str:
        """Return the path of a file (or, if allowed, a folder) of PEM certificates, or "" if the variable is empty."""
        # Imported here: the server's configuration imports this module before gevent patches what `ssl` uses.
        import ssl

        value = self.text(name)
        if not value or (may_be_folder and Path(value).is_dir()):
            return value
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=value)
        except (OSError, ValueError):
            raise EnvironmentProblem(f"{name} must be the path of a readable file of PEM certificates, not {value!r}") from None
        return value

    def cache_url(self, name: str) -> str:
        """Return the cache's address, or "" if the variable is empty."""
        value = self.text(name)
        if value:
            check_cache_url(name, value)
        return value

    def bearer_token(self, name: str) -> str:
        """Return a token that clients send as `Authorization: Bearer …`, or "" if the variable is empty."""
        value = self.text(name)
        if value and not re.fullmatch(r"[A-Za-z0-9._~+/=-]{16,512}", value):
            # The message does not repeat the value, because it is a secret.
            raise EnvironmentProblem(f"{name} must have 16 to 512 letters, digits and . _ ~ + / = -")
        return value

    def secrets(self, name: str, *, least: int) -> list[str]:
        """Return secrets of at least this many characters."""
        secrets = self.several(name)
        if any(len(secret) < least for secret in secrets):
            # The message does not repeat the value, because it is a secret.
            raise EnvironmentProblem(f"{name} must be a comma-separated list of texts of at least {least} characters")
        return secrets

    def emails(self, name: str) -> frozenset[str]:
        """Return e-mail addresses in lower case."""
        addresses = self._several_of("ASCII e-mail addresses", EMAIL_FORM.fullmatch, name)
        return frozenset(address.lower() for address in addresses)

    def networks(self, name: str) -> tuple[IPv4Network | IPv6Network, ...]:
        """Return addresses and networks such as `10.0.0.7, 10.1.0.0/16, fd00::/8`."""
        networks = []
        for written in self.several(name):
            try:
                networks.append(ip_network(written))
            except ValueError:
                form = "a comma-separated list of IP addresses and networks such as 10.1.0.0/16 (host bits 0)"
                raise EnvironmentProblem(f"{name} must be {form}, not {written!r}") from None
        return tuple(networks)


def has_domain(url: str, domain: str) -> bool:
    """Say whether a URL's host is a subdomain of `domain`."""
    return (urlsplit(url).hostname or "").endswith(f".{domain}")
