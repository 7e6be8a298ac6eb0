"""URLs, browser origins and host names: forms that a client library would refuse only later, or that would never match."""

import os
import re
from ipaddress import IPv4Address, ip_address
from urllib.parse import SplitResult, parse_qsl, urlsplit

from chatapi.environment.problem import EnvironmentProblem

CACHE_SCHEMES = ("redis", "rediss", "unix")
CACHE_OPTIONS = frozenset(
    {"client_name", "db", "ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"}
)
CACHE_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
# What a URL never contains as it is: spaces, control characters and the signs that clients encode.
NOT_IN_URLS = re.compile(r'[\s\x00-\x20\x7f-\x9f<>"\\^`{|}]')
HOST_NAME_FORM = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
DEFAULT_PORTS = {"http": 80, "https": 443}


def split_http_url(name: str, value: str) -> SplitResult:
    """Return the parts of an http(s) URL that a path can be appended to."""
    try:
        url = urlsplit(value)
        is_usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or NOT_IN_URLS.search(value) or "?" in value or "#" in value:
        # A value with a password is not repeated.
        shown = "" if "@" in value else f", not {value!r}"
        raise EnvironmentProblem(f"{name} must be an http or https URL without a query{shown}")
    return url


def browser_origin(name: str, value: str) -> str:
    """Return an origin as browsers send it: in lower case, without the scheme's usual port."""
    url = split_http_url(name, value)
    if url.path or "@" in url.netloc or not _is_host(url.hostname or ""):
        raise EnvironmentProblem(
            f"{name} must be a list of origins such as https://chat.example.com, without a path, not {value!r}"
        )
    host = url.netloc.lower()
    return f"{url.scheme}://{host.removesuffix(f':{DEFAULT_PORTS[url.scheme]}').removesuffix(':')}"


def is_allowed_host(value: str) -> bool:
    """Return whether Django can compare it with the hosts of requests: it has no scheme, port or path."""
    is_address = value.startswith("[") and value.endswith("]") and _is_address(value[1:-1])
    return value == "*" or is_address or bool(HOST_NAME_FORM.fullmatch(value.removeprefix(".")))


def bind_address(name: str, value: str) -> str:
    """Return an address or host name to listen at, IPv6 addresses in brackets."""
    bare = value.removeprefix("[").removesuffix("]")
    if _is_address(bare):
        return bare if isinstance(ip_address(bare), IPv4Address) else f"[{bare}]"
    # A name of digits and dots only is a mistyped address.
    if not HOST_NAME_FORM.fullmatch(value) or re.fullmatch(r"[0-9.]+", value):
        raise EnvironmentProblem(f"{name} must be an IP address or a host name, without a port, not {value!r}")
    return value


def check_cache_url(name: str, value: str) -> None:
    """Refuse unknown options, because a misspelt option could silently disable a check, and what the client ignores."""
    # No message repeats the value, because it may contain a password.
    form = f"{name} must have the form redis://host:6379/0 or rediss://user:password@host:6379/0"
    try:
        url = urlsplit(value)
        options = dict(parse_qsl(url.query, strict_parsing=bool(url.query)))
        # The client takes a path that is no number for database 0.
        has_place = bool(url.path) if url.scheme == "unix" else url.port != 0 and re.fullmatch(r"(/[0-9]{0,5})?", url.path)
    except ValueError:
        raise EnvironmentProblem(form) from None
    if url.scheme not in CACHE_SCHEMES or not has_place or NOT_IN_URLS.search(value) or url.fragment:
        raise EnvironmentProblem(form)
    for option in sorted(set(options) - CACHE_OPTIONS):
        raise EnvironmentProblem(f"{name} accepts only the options {', '.join(sorted(CACHE_OPTIONS))}, not {option!r}")
    for file in (options[option] for option in CACHE_FILES if option in options):
        if not os.access(file, os.R_OK):
            raise EnvironmentProblem(f"{name} names a certificate file that is not readable: {file}")
    for option, written in options.items():
        if (option.startswith("ssl_") and url.scheme != "rediss") or not _is_cache_option(option, written):
            raise EnvironmentProblem(f"{name} has a malformed value of {option}, or one that {url.scheme}:// does not have")


def _is_cache_option(option: str, written: str) -> bool:
    forms = {
        "db": r"[0-9]{1,5}",
        "ssl_cert_reqs": r"none|optional|required",
        "ssl_check_hostname": r"(?i:true|t|yes|y|1|false|f|no|n|0)",
    }
    return bool(re.fullmatch(forms.get(option, r".+"), written))


def _is_host(value: str) -> bool:
    return bool(HOST_NAME_FORM.fullmatch(value)) or _is_address(value)


def _is_address(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True
