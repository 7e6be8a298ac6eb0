"""The address of a database, in the form of libpq's URLs, and what of it libpq would refuse only later."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import parse_qsl, unquote

from chatapi.environment.problem import EnvironmentProblem

DATABASE_SCHEMES = ("postgres", "postgresql", "postgresql+asyncpg")
DATABASE_URL_FORM = re.compile(
    r"(?P<scheme>[\w+]+)://(?:(?P<user>[^:/?#]*)(?::(?P<password>[^/?#]*))?@)?(?P<hosts>[^/?#@]*)/(?P<database>[^/?#]+)"
    r"(?:\?(?P<query>[^#]*))?(?:#.*)?"
)
CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
DATABASE_HOST_FORM = re.compile(r"(?P<host>\[[^\[\]]+\]|[^:\[\]]*)(?::(?P<port>[0-9]*))?")
_WHOLE, _ONE_OR_NONE = re.compile(r"-?\d{1,9}"), re.compile(r"[01]")
_METHOD = r"!?(password|md5|gss|sspi|scram-sha-256|oauth|none)"
# The forms of libpq's parameters that it checks only when it connects.
DATABASE_PARAMETER_FORMS = {
    **dict.fromkeys(("connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count"), _WHOLE),
    **dict.fromkeys(("tcp_user_timeout", "keepalives"), _WHOLE),
    **dict.fromkeys(("sslcompression", "sslsni", "requiressl"), _ONE_OR_NONE),
    "sslmode": re.compile(r"disable|allow|prefer|require|verify-ca|verify-full"),
    "sslnegotiation": re.compile(r"postgres|direct"),
    "channel_binding": re.compile(r"disable|prefer|require"),
    "sslcertmode": re.compile(r"disable|allow|require"),
    "require_auth": re.compile(rf"({_METHOD}(,{_METHOD})*)?"),
    # Connections for replication take no statements like ours.
    "replication": re.compile(r"false|off|no|0"),
    "gssencmode": re.compile(r"disable|prefer|require"),
    "load_balance_hosts": re.compile(r"disable|random"),
    **dict.fromkeys(("ssl_min_protocol_version", "ssl_max_protocol_version"), re.compile(r"TLSv1(\.[123])?|")),
}
# libpq knows more. With them, the service would write to a standby, which can't work.
DATABASE_ROLES = ("read-write", "primary", "any")
# The freshness of any other server can't be proved.
REPLICA_ROLES = ("standby",)


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """Where a database is. With several servers, `host` and `port` are comma-separated lists, as libpq takes them."""

    name: str
    user: str
    password: str
    host: str
    port: str
    options: dict[str, str]

    @property
    def has_several_hosts(self) -> bool:
        return "," in self.host


def read_database_url(name: str, written: str, roles: tuple[str, ...]) -> DatabaseUrl:
    """Return what the variable `name` says. The server must have one of these roles; several servers get the first of them."""
    # The message does not repeat the value, because it may contain a password.
    form = (
        f"{name} must have the form postgresql://user:password@host:5432/database, "
        "or with several servers postgresql://user:password@host1:5432,host2:5432/database"
    )
    url = DATABASE_URL_FORM.fullmatch(written)
    if not url or url["scheme"].lower() not in DATABASE_SCHEMES:
        raise EnvironmentProblem(form)
    try:
        options = dict(parse_qsl(url["query"] or "", strict_parsing=bool(url["query"])))
        host, port = _database_hosts(url["hosts"])
        host, port = _with_all_ports(options.pop("host", "") or host, options.pop("port", "") or port)
        if options.get("hostaddr", host).count(",") != host.count(","):
            raise ValueError
        for address in filter(None, options.get("hostaddr", "").split(",")):
            ip_address(address)
        if CONTROL_CHARACTER.search(unquote(written)):
            # libpq would read it as the end of all.
            raise ValueError
    except ValueError:
        raise EnvironmentProblem(form) from None
    if url["scheme"].lower() == "postgresql+asyncpg" and "ssl" in options:
        # asyncpg's name for sslmode. libpq refuses unknown parameters.
        options["sslmode"] = options.pop("ssl")
    if "," in host or "any" not in roles:
        # Without it, the first server that answers would be used, whatever its role is.
        options.setdefault("target_session_attrs", roles[0])
    _check_database_options(name, options, roles)
    return DatabaseUrl(
        name=unquote(url["database"]),
        user=unquote(url["user"] or ""),
        password=unquote(url["password"] or ""),
        host=host,
        port=port,
        options=options,
    )


def _database_hosts(written: str) -> tuple[str, str]:
    """Return the hosts and the ports of a URL's `host:port,host:port`. Raises ValueError."""
    places = [DATABASE_HOST_FORM.fullmatch(place) for place in written.split(",")]
    found = [(place["host"].strip("[]"), place["port"] or "") for place in places if place]
    if len(found) < len(places):
        raise ValueError
    return ",".join(unquote(host) for host, _ in found), ",".join(port for _, port in found)


def _with_all_ports(host: str, port: str) -> tuple[str, str]:
    """Return both lists with as many ports as hosts. Raises ValueError."""
    hosts, ports = host.split(","), port.split(",")
    if len(hosts) > 1:
        if len(ports) == 1:
            ports *= len(hosts)
        ports = [each or "5432" for each in ports]
        if not all(hosts):
            raise ValueError
    if len(ports) != len(hosts) or any(each and not 0 < int(each) < 65536 for each in ports):
        raise ValueError
    return host, ",".join(ports)


def _check_database_options(name: str, options: dict[str, str], roles: tuple[str, ...]) -> None:
    if unknown := sorted(set(options) - _libpq_parameters()):
        # An unknown parameter would make every connection fail later.
        raise EnvironmentProblem(
            f"{name} has parameters that PostgreSQL's client library does not know: {', '.join(map(repr, unknown))}; "
            "remove them (parameters of asyncpg do not work here)"
        )
    for parameter, value in options.items():
        form = DATABASE_PARAMETER_FORMS.get(parameter)
        if form and not form.fullmatch(value):
            # libpq would refuse each connection.
            raise EnvironmentProblem(f"{name} has a malformed value of {parameter}: {value!r}")
    role = options.get("target_session_attrs", "any")
    if role not in roles:
        raise EnvironmentProblem(f"{name} accepts as target_session_attrs only {', '.join(roles)}, not {role!r}")


def _libpq_parameters() -> set[str]:
    # Imported here, because gunicorn's configuration imports this module before gevent patches what psycopg needs.
    from psycopg import pq

    return {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
