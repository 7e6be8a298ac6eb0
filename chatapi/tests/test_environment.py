"""Every variable: its default, what it takes, and one clear line where it is malformed."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
from django.core.exceptions import ImproperlyConfigured

from chatapi.environment import EnvironmentProblem, EnvironmentReader, Rate
from tests.support.tls import write_authority

PROJECT = Path(__file__).resolve().parents[2]
SECRET = "an-environment-test-secret-long-enough"
# No variable of ours, whatever the machine has set.
BARE = {"PATH": os.environ["PATH"], "SECRET_KEY": SECRET}

WEBHOOK_SECRET = "whsec_" + "a" * 32
# How Python reads bytes that are not UTF-8.
UNDECODABLE = os.fsdecode(b"\xff")

DEFAULTS: dict[str, Any] = {
    "AUTH_SERVICE_URL": "http://auth:8001",
    "INFERENCE_SERVICE_URL": "http://inference:8000",
    "INFERENCE_GENERATE_PATH": "/generate",
    "INTERNAL_API_KEY": "",
    "INFERENCE_SEND_INTERNAL_KEY": True,
    "METRICS_PORT": None,
    "OTEL_EXPORTER_OTLP_ENDPOINT": "",
    "SENTRY_DSN": "",
    "METRICS_TOKEN": "",
    "MODEL_PRICES": [],
    "MODEL_PRICES_CURRENCY": "",
    "WEBHOOK_URL": "",
    "WEBHOOK_SECRETS": [],
    "WEBHOOK_ALLOW_PRIVATE": False,
    "WEBHOOK_ATTEMPTS": 12,
    "WEBHOOK_KEEP_DAYS": 7,
    "WEBHOOK_INCLUDE_TEXT": False,
    "TLS_CA_FILE": "",
    "TLS_TRUSTED": [],
    "MAX_CONVERSATION_HISTORY": 50,
    "MAX_TOKEN_BUDGET": 6000,
    "CORS_ALLOWED_ORIGINS": ["http://localhost:3000"],
    "LOG_LEVEL": "INFO",
    "INFERENCE_PROTOCOL": "nanochat",
    "INFERENCE_MODEL": "",
    "INFERENCE_COMPATIBILITY": [],
    "UNNAMED_TITLES": [],
    "INFERENCE_THINK_TAGS": True,
    "INFERENCE_PREFILL": [],
    "MODEL_ALIASES": {},
    "INFERENCE_THINK_INSIDE": [],
    "INFERENCE_THINK_PAIRS": [],
    "INFERENCE_SEND_REASONING": False,
    "MAX_MESSAGE_CHARACTERS": 8_000,
    "MAX_OUTPUT_TOKENS": 4_096,
    "INFERENCE_API_KEY": "",
    "SECRET_KEY": SECRET,
    "SECRET_KEY_FALLBACKS": [],
    "ALLOWED_HOSTS": ["localhost", "127.0.0.1", "[::1]", "chat-api"],
    "DEBUG": False,
    "TRY_PAGE": False,
    "AUTH_CACHE_SECONDS": 300,
    "ADMIN_EMAILS": [],
    "SYSTEM_PROMPT": "",
    "THINKING_PROMPT": "",
    "TITLE_MODEL": "",
    "INFERENCE_DEFAULT_TEMPERATURE": None,
    "INFERENCE_DEFAULT_MAX_TOKENS": None,
    "INFERENCE_DEFAULT_TOP_K": None,
    "INFERENCE_START_TIMEOUT": 60,
    "INFERENCE_IDLE_TIMEOUT": 60,
    "GENERATION_TIMEOUT": 600,
    "CHECKPOINT_SECONDS": 1,
    "WAKEUPS_PER_SECOND": 9_000,
    "TRASH_DAYS": 0,
    "MAX_RUNNING_REPLIES": 4_000,
    "HEARTBEAT_SECONDS": 15,
    "USER_MAX_GENERATIONS": 8,
    "USER_MAX_STREAMS": 20,
    "USER_MAX_CHANGE_STREAMS": 20,
    "QUOTA_TOKENS_DAY": 0,
    "QUOTA_TOKENS_MONTH": 0,
    "THROTTLE_SEND": [60, 60],
    "THROTTLE_READ": [600, 60],
    "THROTTLE_ADDRESS": [1200, 60],
    "THROTTLE_PROBE": [6000, 60],
    "THROTTLE_REJECTED_TOKENS": [120, 60],
    "TRUSTED_PROXIES": [],
    "ALLOW_ANONYMOUS": False,
    "ADMIN_ENABLED": True,
    "ADMIN_REASON": "off",
    "ADMIN_OIDC_ISSUER": "",
    "ADMIN_OIDC_CLIENT_ID": "",
    "ADMIN_OIDC_CLIENT_SECRET": "",
    "ADMIN_OIDC_GROUPS": {},
    "ADMIN_OIDC_GROUPS_CLAIM": "groups",
    "ADMIN_OIDC_SCOPES": "openid email profile",
    "ADMIN_OIDC_RECHECK_MINUTES": 60,
    "ADMIN_PASSWORDS": True,
    "ADMIN_SECOND_FACTOR": "optional",
    "SESSION_COOKIE_SECURE": True,
    "THROTTLE_LOGIN": [10, 60],
    "ANONYMOUS_MAX_GENERATIONS": 2,
    "ALLOWED_MODELS": [],
    "DATABASE": ["samosachaat", "localhost", ""],
    "DATABASE_PREPARED_STATEMENTS": "auto",
    "DATABASE_REPLICA": None,
    "DATABASE_REPLICA_MAX_LAG": 5,
    "POOL": 10,
    "CACHE": "chatapi.cache.process_cache.ProcessCache",
    "AUTH_CACHE_MAX_SIZE": 100_000,
}
CHOSEN: dict[str, tuple[str, Any]] = {
    "DATABASE_PREPARED_STATEMENTS": ("false", "false"),
    "DATABASE_REPLICA_MAX_LAG": ("2.5", 2.5),
    "AUTH_SERVICE_URL": ("https://auth.example.com/base/", "https://auth.example.com/base"),
    "INFERENCE_SERVICE_URL": ("http://10.0.0.7:9000", "http://10.0.0.7:9000"),
    "INFERENCE_GENERATE_PATH": ("/v2/generate", "/v2/generate"),
    "INTERNAL_API_KEY": ("a key", "a key"),
    "INFERENCE_SEND_INTERNAL_KEY": ("false", False),
    "MAX_CONVERSATION_HISTORY": ("7", 7),
    "MAX_TOKEN_BUDGET": ("12000", 12000),
    "LOG_LEVEL": ("debug", "DEBUG"),
    "INFERENCE_PROTOCOL": ("openai", "openai"),
    "INFERENCE_MODEL": ("a-model", "a-model"),
    "UNNAMED_TITLES": ("Neue Unterhaltung, Nouveau chat", ["Neue Unterhaltung", "Nouveau chat"]),
    "INFERENCE_COMPATIBILITY": ("no_top_k, max_completion_tokens", ["max_completion_tokens", "no_top_k"]),
    "INFERENCE_THINK_TAGS": ("no", False),
    "INFERENCE_PREFILL": ("qwen*, tiny", ["qwen*", "tiny"]),
    "MODEL_ALIASES": ("gpt-4o=default, gpt-4o-mini = tiny=1", {"gpt-4o": "default", "gpt-4o-mini": "tiny=1"}),
    "INFERENCE_THINK_INSIDE": ("deepseek-r1*, qwq", ["deepseek-r1*", "qwq"]),
    "INFERENCE_THINK_PAIRS": ("own*=<hm=1> </hm>, *=[A] [/A]", [["own*", "<hm=1>", "</hm>"], ["*", "[A]", "[/A]"]]),
    "INFERENCE_SEND_REASONING": ("yes", True),
    "MAX_MESSAGE_CHARACTERS": ("200000", 200_000),
    "MAX_OUTPUT_TOKENS": ("131072", 131_072),
    "INFERENCE_API_KEY": ("another key", "another key"),
    "ALLOWED_HOSTS": ("chat.example.com, .example.org", ["chat.example.com", ".example.org"]),
    "DEBUG": ("yes", True),
    "AUTH_CACHE_SECONDS": ("0", 0),
    "ADMIN_EMAILS": ("Ada@Example.com,bo@example.com", ["ada@example.com", "bo@example.com"]),
    "AUTH_CACHE_MAX_SIZE": ("1024", 1024),
    "SYSTEM_PROMPT": ("Be brief.", "Be brief."),
    "THINKING_PROMPT": ("Think first.", "Think first."),
    "TITLE_MODEL": ("small", "small"),
    "INFERENCE_DEFAULT_TEMPERATURE": ("0.7", 0.7),
    "INFERENCE_DEFAULT_MAX_TOKENS": ("1024", 1024),
    "INFERENCE_DEFAULT_TOP_K": ("40", 40),
    "INFERENCE_START_TIMEOUT": ("2.5", 2.5),
    "INFERENCE_IDLE_TIMEOUT": ("3", 3),
    "GENERATION_TIMEOUT": ("90", 90),
    "CHECKPOINT_SECONDS": ("0.25", 0.25),
    "WAKEUPS_PER_SECOND": ("0", 0),
    "TRASH_DAYS": ("30", 30),
    "MAX_RUNNING_REPLIES": ("0", 0),
    "HEARTBEAT_SECONDS": ("5", 5),
    "USER_MAX_GENERATIONS": ("0", 0),
    "USER_MAX_STREAMS": ("0", 0),
    "USER_MAX_CHANGE_STREAMS": ("0", 0),
    "QUOTA_TOKENS_DAY": ("100000", 100_000),
    "QUOTA_TOKENS_MONTH": ("1000000", 1_000_000),
    "THROTTLE_SEND": ("5/s", [5, 1]),
    "THROTTLE_READ": ("", None),
    "THROTTLE_ADDRESS": ("100/s", [100, 1]),
    "THROTTLE_PROBE": ("", None),
    "THROTTLE_REJECTED_TOKENS": ("5/min", [5, 60]),
    "TRUSTED_PROXIES": ("10.0.0.0/8, 192.0.2.7,fd00::/8", ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"]),
    "ALLOW_ANONYMOUS": ("true", True),
    "TRY_PAGE": ("no", False),
    "MODEL_PRICES_CURRENCY": ("USD", "USD"),
    "WEBHOOK_ATTEMPTS": ("3", 3),
    "WEBHOOK_KEEP_DAYS": ("30", 30),
    "WEBHOOK_INCLUDE_TEXT": ("yes", True),
    "ADMIN_ENABLED": ("no", False),
    "ADMIN_REASON": ("required", "required"),
    "ADMIN_OIDC_ISSUER": ("https://id.example.com/", "https://id.example.com"),
    "ADMIN_OIDC_CLIENT_ID": ("chat-admin", "chat-admin"),
    "ADMIN_OIDC_CLIENT_SECRET": ("only-for-tests", "only-for-tests"),
    "ADMIN_OIDC_GROUPS": ("chat-support=support, chat-leads=leads", {"chat-support": "support", "chat-leads": "leads"}),
    "ADMIN_OIDC_GROUPS_CLAIM": ("realm_access.roles", "realm_access.roles"),
    "ADMIN_OIDC_SCOPES": ("openid email groups", "openid email groups"),
    "ADMIN_OIDC_RECHECK_MINUTES": ("15", 15),
    "ADMIN_PASSWORDS": ("false", False),
    "ADMIN_SECOND_FACTOR": ("required", "required"),
    "THROTTLE_LOGIN": ("3/h", [3, 3600]),
    "ANONYMOUS_MAX_GENERATIONS": ("0", 0),
    "METRICS_PORT": ("9102", 9102),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("http://collector:4318/", "http://collector:4318"),
    "SENTRY_DSN": ("https://key@sentry.example/1", "https://key@sentry.example/1"),
    "METRICS_TOKEN": ("a-token-for-metrics", "a-token-for-metrics"),
    "SECRET_KEY_FALLBACKS": (f"{SECRET}-1, {SECRET}-2", [f"{SECRET}-1", f"{SECRET}-2"]),
    "ALLOWED_MODELS": ("small, org/large:7b", ["org/large:7b", "small"]),
}
MALFORMED = {
    "DATABASE_PREPARED_STATEMENTS": ["maybe", "1"],
    "DATABASE_REPLICA_URL": [
        "mysql://localhost/x",
        "postgresql://localhost",
        "postgresql://h/b?target_session_attrs=any",
        "postgresql://h1,h2/b?target_session_attrs=prefer-standby",
        "postgresql://h/b?pgbouncer=true",
        # Without CACHE_URL.
        "postgresql://h/b",
    ],
    "DATABASE_REPLICA_MAX_LAG": ["1.5", "-2", "long"],
    "DATABASE_URL": [
        "postgresql://h/b?sslmode=no-verify",
        "postgresql://h/b?keepalives_idle=10s",
        "postgresql://h/b?connect_timeout=soon",
        "postgresql://h/b?channel_binding=yes",
        "mysql://localhost/x",
        "postgresql://localhost",
        "postgresql://localhost:notaport/x",
        "",
        "postgresql://h/a/b",
        "postgresql+asyncpg://h/b?prepared_statement_cache_size=0",
        "postgresql://h/b?pgbouncer=true",
        "postgresql://h:0/b",
        "postgresql://h:99999/b",
        "postgresql://h1,/b",
        "postgresql://h1:5432,h2:port/b",
        "postgresql://h1,h2:65536/b",
        "postgresql://h1,[::1/b",
        "postgresql:///b?host=/run/a,/run/b&port=1,2,3",
        "postgresql://h1,h2/b?hostaddr=10.0.0.1",
        "postgresql://h1,h2/b?target_session_attrs=prefer-standby",
        "postgresql://h1,h2/b?target_session_attrs=readwrite",
        "postgresql://h/b?replication=database",
        "postgresql://h/b?require_auth=oath",
        "postgresql://h/b?sslcertmode=never",
        "postgresql://h/b?hostaddr=db.example.com",
        "postgresql://u:p%00@h/b",
        "postgresql://h/b%0A",
        f"postgresql://{UNDECODABLE}@h/b",
    ],
    "AUTH_SERVICE_URL": [
        "auth:8001",
        "ftp://auth",
        "http://",
        "http://auth?x=1",
        "http://auth:99999",
        "",
        "http://auth:0",
        "http://auth?",
        "http://auth#",
        "http://au th",
        "http://auth/\npath",
        "http://auth/a b",
        "http://auth\u00a0/",
        "http://auth/{id}",
    ],
    "INFERENCE_SERVICE_URL": ["inference", "http://[bad", "http://inference#part", "http://a\tb", f"http://h/{UNDECODABLE}"],
    "INFERENCE_API_KEY": ["a\nkey", "ein Schl\u00fcssel", UNDECODABLE],
    "INTERNAL_API_KEY": ["a\rkey", "\u043a\u043b\u044e\u0447", "a\x7fkey"],
    "INFERENCE_MODEL": [UNDECODABLE],
    "SYSTEM_PROMPT": [f"Be brief{UNDECODABLE}."],
    "THINKING_PROMPT": [UNDECODABLE],
    "TITLE_MODEL": [UNDECODABLE],
    "UNNAMED_TITLES": [f"Untitled,{UNDECODABLE}"],
    "ALLOWED_MODELS": [UNDECODABLE],
    "ALLOWED_HOSTS": [
        "",
        ",",
        "https://chat.example.com",
        "chat.example.com:8002",
        "chat.example.com/",
        "chat.example.com api.example.com",
        "*.example.com",
        "..example.com",
        "[::1",
        "[chat]",
        "::1",
    ],
    "INFERENCE_GENERATE_PATH": ["generate", "http://elsewhere/", "/a?b=c", "/a b", "/#"],
    "MAX_CONVERSATION_HISTORY": ["\u0663", "0", "-1", "many", "1.5", "1001", "", "1e3"],
    "MAX_TOKEN_BUDGET": ["0", "x", "99999999999"],
    "FRONTEND_URL": [
        "localhost:3000",
        "https://chat.example.com/app",
        "*",
        "https://*.example.com",
        "https://user@chat.example.com",
        "https://chat.example.com?",
        "https://chat example.com",
    ],
    "LOG_LEVEL": ["LOUD", "2", ""],
    "INFERENCE_PROTOCOL": ["grpc", "OpenAI", ""],
    "INFERENCE_COMPATIBILITY": ["max_tokens", "no_stream_options;no_top_k", "NO_TOP_K"],
    "INFERENCE_THINK_TAGS": ["perhaps"],
    "MODEL_ALIASES": ["gpt-4o", "gpt-4o=", "=default"],
    "INFERENCE_THINK_PAIRS": ["own", "own=<hm>", "=<hm> </hm>", "own=<hm> </hm> more", "own=<hm></hm>", "own=< >"],
    "INFERENCE_SEND_REASONING": ["perhaps"],
    "INFERENCE_SEND_INTERNAL_KEY": ["perhaps"],
    "MAX_MESSAGE_CHARACTERS": ["0", "200001", "many"],
    "MAX_OUTPUT_TOKENS": ["0", "131073", "4k"],
    "SECRET_KEY": ["", "   ", "too-short"],
    "SECRET_KEY_FALLBACKS": ["too-short", f"{SECRET}, too-short"],
    "DEBUG": ["maybe", "", "2"],
    "CACHE_URL": [
        "memcached://localhost",
        "localhost:6379",
        "redis://h:notaport/0",
        "rediss://h/0?ssl_ca_cert=/misspelt",
        "redis://h/0?decode_responses=true",
        "rediss://h/0?ssl_ca_certs=/no/such/file",
        "redis://h/0?db",
        "redis://h/first",
        "redis://h/-1",
        "redis://h/0/1",
        "redis://h:0/0",
        "redis://h/0?db=first",
        "redis://h/0?ssl_ca_certs=/etc/passwd",
        "rediss://h/0?ssl_cert_reqs=sometimes",
        "rediss://h/0?ssl_check_hostname=perhaps",
        "rediss://h/0?ssl_keyfile=/no/such/file",
        "redis://h /0",
        "unix://",
    ],
    "ADMIN_EMAILS": ["kate", "kate@example.test, bo", "kate@", "\u212aate@example.test", "kate bo@example.test", "a@b@c"],
    "CORS_ALLOW_HEADERS": ["x tenant", "x-größe", "x:y"],
    "TRUSTED_PROXIES": ["nginx", "10.0.0.1/8", "10.0.0.0/33", "1", "10.0.0.0/8;fd00::/8"],
    "AUTH_CACHE_SECONDS": ["-1", "x", "86401"],
    "AUTH_CACHE_TTL_SECONDS": ["-1", "5m"],
    "AUTH_CACHE_MAX_SIZE": ["0", "many", ""],
    "INFERENCE_DEFAULT_TEMPERATURE": ["-1", "warm", "2.1"],
    "INFERENCE_DEFAULT_MAX_TOKENS": ["0", "x"],
    "INFERENCE_DEFAULT_TOP_K": ["-1"],
    "INFERENCE_START_TIMEOUT": ["0", "-1", "soon", "inf", "nan", ""],
    "INFERENCE_IDLE_TIMEOUT": ["0"],
    "GENERATION_TIMEOUT": ["10m"],
    "CHECKPOINT_SECONDS": ["0", "0.01"],
    "WAKEUPS_PER_SECOND": ["-1", "1.5"],
    "TRASH_DAYS": ["-1", "1.5", "3651"],
    "MAX_RUNNING_REPLIES": ["-1", "many"],
    "HEARTBEAT_SECONDS": ["x"],
    "USER_MAX_GENERATIONS": ["-1", "none"],
    "USER_MAX_STREAMS": ["-1", "many"],
    "USER_MAX_CHANGE_STREAMS": ["-1", "many"],
    "QUOTA_TOKENS_DAY": ["-1", "many"],
    "QUOTA_TOKENS_MONTH": ["1.5"],
    "THROTTLE_SEND": ["60", "60/fortnight", "0/min", "-1/min", "1.5/s"],
    "THROTTLE_READ": ["fast"],
    "THROTTLE_ADDRESS": ["fast"],
    "THROTTLE_PROBE": ["60"],
    "THROTTLE_REJECTED_TOKENS": ["0/min"],
    "ALLOW_ANONYMOUS": ["perhaps"],
    "TRY_PAGE": ["perhaps"],
    # chatapi/tests/test_model_prices.py has more.
    "MODEL_PRICES": ["gpt-4o=2", '{"a": {"prompt": 1}}'],
    "WEBHOOK_URL": [
        "http://hooks.example.com/a",
        "hooks.example.com",
        "https://",
        "https://hooks.example.com/#a",
        "https://hooks.example.com:99999/",
        "https://hooks example.com/",
        # Without WEBHOOK_SECRET.
        "https://hooks.example.com/a?key=1",
    ],
    "WEBHOOK_SECRET": ["not in base64", "whsec_c2hvcnQ=", "whsec_***", f"{WEBHOOK_SECRET},c2hvcnQ="],
    "WEBHOOK_ALLOW_PRIVATE": ["perhaps"],
    "WEBHOOK_INCLUDE_TEXT": ["perhaps"],
    "WEBHOOK_ATTEMPTS": ["0", "101"],
    "WEBHOOK_KEEP_DAYS": ["0", "91"],
    "ADMIN_ENABLED": ["perhaps"],
    "ADMIN_REASON": ["yes"],
    "ADMIN_OIDC_ISSUER": ["id.example.com", "https://", "https://id.example.com?a=b", "ftp://id.example.com"],
    "ADMIN_OIDC_RECHECK_MINUTES": ["0", "4", "721", "x"],
    "ADMIN_OIDC_GROUPS": ["chat-support", "=support", "chat-support="],
    "ADMIN_PASSWORDS": ["perhaps"],
    "ADMIN_SECOND_FACTOR": ["sometimes"],
    "INSECURE_COOKIES": ["perhaps"],
    "THROTTLE_LOGIN": ["often"],
    "ANONYMOUS_MAX_GENERATIONS": ["-1", "none"],
    "DB_POOL_SIZE": ["0", "x"],
    "OTEL_EXPORTER_OTLP_ENDPOINT": ["collector:4318", "ftp://collector"],
    "SENTRY_DSN": ["https://sentry.example/1", "key@sentry.example/1", "https://key@sentry.example/project"],
    "METRICS_PORT": ["http", "0", "65536"],
    "METRICS_TOKEN": ["too-short", "a token with spaces in it", "ein-Schlüssel-mit-Umlaut"],
    "TLS_CA_FILE": ["/nowhere/authority.pem", "/", str(PROJECT / "README.md")],
    "SSL_CERT_FILE": ["/nowhere/authority.pem"],
    "REQUESTS_CA_BUNDLE": ["/nowhere/authority.pem"],
}
SHOW = """
import json
from django.conf import settings as s
names = %r
database, cache = s.DATABASES["default"], s.CACHES["default"]
shown = {name: getattr(s, name) for name in names if hasattr(s, name)}
shown |= {name: rate and [rate.requests, rate.period_s] for name, rate in shown.items() if name.startswith("THROTTLE")}
several = ("ADMIN_EMAILS", "ALLOWED_MODELS", "INFERENCE_COMPATIBILITY", "UNNAMED_TITLES")
shown |= {name: sorted(getattr(s, name)) for name in several}
shown["TRUSTED_PROXIES"] = [str(network) for network in s.TRUSTED_PROXIES]
shown["DATABASE"] = [database["NAME"], database["HOST"], database["USER"]]
shown["POOL"] = database["OPTIONS"]["pool"]["max_size"]
shown["CACHE"] = cache["BACKEND"]
shown["AUTH_CACHE_MAX_SIZE"] = cache["OPTIONS"]["MAX_ENTRIES"]
print(json.dumps(shown))
"""


def python(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run the project's Python with these variables and no others."""
    environment = {**BARE, "DJANGO_SETTINGS_MODULE": "chatapi.settings", **variables}
    return subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def load_settings(**variables: str) -> "subprocess.CompletedProcess[str]":
    """Load the settings in this process's place: they are executed anew, with these variables."""
    return python("-c", SHOW % list(DEFAULTS), **variables)


def read_settings(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Any:
    """Execute the settings module with these variables and return what it defines."""
    with monkeypatch.context() as patch:
        for name in (*MALFORMED, *CHOSEN):
            patch.delenv(name, raising=False)
        for name, value in {"SECRET_KEY": SECRET, **variables}.items():
            patch.setenv(name, value)
        return runpy.run_path(str(PROJECT / "chatapi" / "settings.py"))


def test_defaults() -> None:
    result = load_settings()
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == DEFAULTS


def test_good_values() -> None:
    result = load_settings(
        **{name: value for name, (value, _) in CHOSEN.items()}, FRONTEND_URL="https://a.example/,http://b:81"
    )
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    assert {name: shown[name] for name in CHOSEN} == {name: meant for name, (_, meant) in CHOSEN.items()}
    assert shown["CORS_ALLOWED_ORIGINS"] == ["https://a.example", "http://b:81"]


def test_origins_are_compared_as_browsers_send_them(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = read_settings(
        monkeypatch, {"FRONTEND_URL": "HTTPS://Chat.Example.com:443/,http://b:80,http://[::1]:3000,http://c:443"}
    )
    assert chosen["CORS_ALLOWED_ORIGINS"] == ["https://chat.example.com", "http://b", "http://[::1]:3000", "http://c:443"]


@pytest.mark.parametrize("hosts", ["*", "chat-api,[::1],10.0.0.7", ".example.com,Chat_2.example.com."])
def test_hosts_that_django_can_compare(monkeypatch: pytest.MonkeyPatch, hosts: str) -> None:
    assert read_settings(monkeypatch, {"ALLOWED_HOSTS": hosts})["ALLOWED_HOSTS"] == hosts.split(",")


@pytest.mark.parametrize(
    ("written", "meant"),
    [("", "0.0.0.0"), ("::", "[::]"), ("[::1]", "[::1]"), ("10.0.0.7", "10.0.0.7"), ("localhost", "localhost")],
)
def test_addresses_to_listen_at(written: str, meant: str) -> None:
    assert EnvironmentReader({"BIND": written}).bind_address("BIND", "0.0.0.0") == meant


def test_a_message_about_a_service_never_repeats_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        read_settings(monkeypatch, {"INFERENCE_SERVICE_URL": "http://user:hunter2@inference?x=1"})
    assert "hunter2" not in str(refusal.value)


def test_a_receiver_of_webhooks(monkeypatch: pytest.MonkeyPatch) -> None:
    url, secrets = "https://hooks.example.com/a?key=1", f"{WEBHOOK_SECRET}, whsec_{'b' * 32}"
    chosen = read_settings(monkeypatch, {"WEBHOOK_URL": url, "WEBHOOK_SECRET": secrets})
    assert (chosen["WEBHOOK_URL"], len(chosen["WEBHOOK_SECRETS"])) == (url, 2)
    private = {"WEBHOOK_URL": "http://10.0.0.7:8080/", "WEBHOOK_SECRET": WEBHOOK_SECRET, "WEBHOOK_ALLOW_PRIVATE": "yes"}
    assert read_settings(monkeypatch, private)["WEBHOOK_URL"] == "http://10.0.0.7:8080/"


def test_headers_that_browsers_may_also_send() -> None:
    names = "import json; from django.conf import settings as s; print(json.dumps(s.CORS_ALLOW_HEADERS))"
    shown = python("-c", names, CORS_ALLOW_HEADERS="X-Tenant, x-app-version")
    assert json.loads(shown.stdout)[-2:] == ["x-tenant", "x-app-version"]
    assert "authorization" in json.loads(shown.stdout)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in MALFORMED.items() for value in values])
def test_a_malformed_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        read_settings(monkeypatch, {name: value})
    assert str(refusal.value).startswith(name)
    assert "\n" not in str(refusal.value)


def test_a_missing_secret_is_refused_by_name() -> None:
    result = python("manage.py", "check", SECRET_KEY="")
    assert result.returncode != 0
    assert "SECRET_KEY must be set to" in result.stderr


@pytest.mark.parametrize(("name", "value"), [("LOG_LEVEL", "LOUD"), ("DATABASE_URL", "mysql://u:hunter2@h/x")])
def test_the_start_stops_with_one_line_that_names_the_variable(name: str, value: str) -> None:
    result = python("manage.py", "check", **{name: value})
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if name in line]
    assert len(lines) == 1
    assert result.stderr.strip().splitlines()[-1] == lines[0]
    assert "Traceback" not in result.stderr
    assert "hunter2" not in result.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "99999"),
        ("BIND", "127.0.0.1:8002"),
        ("BIND", "999.1.1.1"),
        ("BIND", "unix:/run/chat.sock"),
        ("BIND", "all addresses"),
        ("METRICS_PORT", "8002"),
        ("METRICS_TOKEN", "short"),
        ("WEB_CONCURRENCY", "0"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_the_server_stops_with_one_line_that_names_the_variable(name: str, value: str) -> None:
    result = python("-m", "gunicorn", "--check-config", "chatapi.wsgi", **{name: value})
    assert result.returncode != 0
    assert result.stderr.startswith(name)
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_start_stops_without_the_certificates_that_are_to_be_trusted() -> None:
    result = python("manage.py", "check", TLS_CA_FILE="/nowhere/authority.pem")
    assert result.returncode != 0
    assert result.stderr.splitlines() == [
        "TLS_CA_FILE must be the path of a readable file of PEM certificates, not '/nowhere/authority.pem'"
    ]


def test_certificates_to_trust_may_be_a_file_or_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = write_authority(trustme.CA(), tmp_path)
    settings = read_settings(monkeypatch, {"TLS_CA_FILE": file, "SSL_CERT_FILE": file, "REQUESTS_CA_BUNDLE": str(tmp_path)})
    assert (settings["TLS_CA_FILE"], settings["TLS_TRUSTED"]) == (file, [str(tmp_path), file])


def test_a_good_environment_passes_the_checks() -> None:
    result = python("manage.py", "check", DATABASE_URL="postgresql://localhost/x")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_database_addresses(scheme: str) -> None:
    reader = EnvironmentReader({"DATABASE_URL": f"{scheme}://us%40er:p%2Fw@db.example:5433/chat%20db?sslmode=require"})
    address = reader.database("DATABASE_URL", "")
    assert (address.user, address.password, address.host, address.port, address.name) == (
        "us@er",
        "p/w",
        "db.example",
        "5433",
        "chat db",
    )
    assert address.options == {"sslmode": "require"}


def test_a_database_behind_a_socket() -> None:
    address = EnvironmentReader({"D": "postgresql://postgres:@/chat?host=/var/run/pg&port=5434"}).database("D", "")
    assert (address.host, address.port, address.options) == ("/var/run/pg", "5434", {})


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [
        ("//u:p@a:5433,b/chat", "a,b", "5433,5432"),
        ("//u:p,%40x@a,b:5433,c/chat", "a,b,c", "5432,5433,5432"),
        ("//u@a:5433,[fd00::7]:5434/chat", "a,fd00::7", "5433,5434"),
        ("//u@[fd00::7],[fd00::8]/chat", "fd00::7,fd00::8", "5432,5432"),
        ("//%2Frun%2FA,%2Frun%2Fb/chat", "/run/A,/run/b", "5432,5432"),
        ("///chat?host=a,b&port=5433,5434", "a,b", "5433,5434"),
        ("//a,b/chat?port=5433", "a,b", "5433,5433"),
    ],
)
def test_a_database_with_several_servers(written: str, host: str, port: str) -> None:
    address = EnvironmentReader({"D": f"postgresql:{written}"}).database("D", "")
    assert (address.name, address.host, address.port) == ("chat", host, port)
    assert address.has_several_hosts
    assert address.options == {"target_session_attrs": "read-write"}


def test_the_role_that_a_server_must_have_is_the_operators_choice() -> None:
    for role in ("any", "primary"):
        address = EnvironmentReader({"D": f"postgresql://a,b/chat?target_session_attrs={role}"}).database("D", "")
        assert address.options == {"target_session_attrs": role}
    assert EnvironmentReader({"D": "postgresql://a/chat"}).database("D", "").options == {}


def test_a_replica_must_be_a_standby_and_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"DATABASE_REPLICA_URL": "postgresql://u:p@r1:5433,r2/chat", "CACHE_URL": "redis://cache"}
    found = read_settings(monkeypatch, variables)
    replica = found["DATABASE_REPLICA"]
    assert (replica["HOST"], replica["PORT"], replica["USER"], replica["NAME"]) == ("r1,r2", "5433,5432", "u", "chat")
    assert replica["OPTIONS"]["target_session_attrs"] == "standby"
    assert replica["OPTIONS"]["tcp_user_timeout"] == "3000"
    assert replica["OPTIONS"]["connect_timeout"] == "2"
    assert found["DATABASES"].keys() == {"default"}
    assert "chatapi.database.recent_writes.SlowWritesMiddleware" in found["MIDDLEWARE"]
    assert "chatapi.database.recent_writes.SlowWritesMiddleware" not in read_settings(monkeypatch, {})["MIDDLEWARE"]


def test_a_replica_needs_the_shared_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^DATABASE_REPLICA_URL needs CACHE_URL"):
        read_settings(monkeypatch, {"DATABASE_REPLICA_URL": "postgresql://r/chat"})


SINGLE_SIGN_ON = {
    "ADMIN_OIDC_ISSUER": "https://id.example.com",
    "ADMIN_OIDC_CLIENT_ID": "chat-admin",
    "ADMIN_OIDC_CLIENT_SECRET": "only-for-tests",
    "ADMIN_OIDC_GROUPS": "chat-support=support",
}


def test_single_sign_on_adds_its_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = "django.contrib.auth.backends.ModelBackend"
    assert read_settings(monkeypatch, {})["AUTHENTICATION_BACKENDS"] == [passwords]
    found = read_settings(monkeypatch, SINGLE_SIGN_ON)["AUTHENTICATION_BACKENDS"]
    assert found == [passwords, "conversations.sign_in.single_sign_on.SingleSignOnBackend"]


@pytest.mark.parametrize("missing", ["ADMIN_OIDC_CLIENT_ID", "ADMIN_OIDC_CLIENT_SECRET", "ADMIN_OIDC_GROUPS"])
def test_single_sign_on_needs_all_of_its_settings(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=missing):
        read_settings(monkeypatch, {**SINGLE_SIGN_ON, missing: ""})


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({**SINGLE_SIGN_ON, "ADMIN_OIDC_ISSUER": "http://id.example.com"}, "must be an https URL"),
        ({**SINGLE_SIGN_ON, "ADMIN_OIDC_SCOPES": "email"}, "must contain openid"),
        ({"ADMIN_PASSWORDS": "false"}, "staff can't sign in"),
    ],
)
def test_a_sign_in_that_can_not_work_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], problem: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=problem):
        read_settings(monkeypatch, variables)


def test_a_provider_without_tls_is_for_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = "http://127.0.0.1:9000"
    found = read_settings(monkeypatch, {**SINGLE_SIGN_ON, "ADMIN_OIDC_ISSUER": issuer, "INSECURE_COOKIES": "true"})
    assert found["ADMIN_OIDC_ISSUER"] == issuer


def test_several_servers_share_the_time_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def limit_s(url: str) -> int:
        return int(read_settings(monkeypatch, {"DATABASE_URL": url})["DATABASES"]["default"]["OPTIONS"]["connect_timeout"])

    assert limit_s("postgresql://a/chat") == 5
    assert limit_s("postgresql://a,b/chat") == 2
    assert limit_s("postgresql://a,b/chat?connect_timeout=9") == 9


def test_a_machine_that_vanished_is_noticed_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    def options(url: str) -> dict[str, Any]:
        found = read_settings(monkeypatch, {"DATABASE_URL": url})["DATABASES"]["default"]["OPTIONS"]
        return {name: found[name] for name in ("tcp_user_timeout", "keepalives_idle")}

    assert options("postgresql://a/chat") == {"tcp_user_timeout": "10000", "keepalives_idle": "10"}
    assert options("postgresql://a/chat?tcp_user_timeout=3000&keepalives_idle=60") == {
        "tcp_user_timeout": "3000",
        "keepalives_idle": "60",
    }


def test_asyncpg_spells_sslmode_its_own_way() -> None:
    address = EnvironmentReader({"D": "postgresql+asyncpg://h/chat?ssl=require"}).database("D", "")
    assert address.options == {"sslmode": "require"}


def test_parameters_of_asyncpg_are_named() -> None:
    reader = EnvironmentReader({"D": "postgresql+asyncpg://u:hunter2@h/chat?ssl=require&command_timeout=5&timeout=3"})
    with pytest.raises(EnvironmentProblem) as refusal:
        reader.database("D", "")
    assert "'command_timeout', 'timeout'" in str(refusal.value)
    assert "sslmode" not in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    ("variables", "meant"),
    [
        ({"ADMIN_EMAIL": "Ada@example.com"}, {"ADMIN_EMAILS": {"ada@example.com"}}),
        ({"ADMIN_EMAIL": "ada@example.com", "ADMIN_EMAILS": "bo@example.com"}, {"ADMIN_EMAILS": {"bo@example.com"}}),
        ({"AUTH_CACHE_TTL_SECONDS": "60"}, {"AUTH_CACHE_SECONDS": 60}),
        ({"AUTH_CACHE_TTL_SECONDS": "60", "AUTH_CACHE_SECONDS": "90"}, {"AUTH_CACHE_SECONDS": 90}),
    ],
)
def test_the_predecessors_names_still_work(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], meant: dict[str, Any]
) -> None:
    settings = read_settings(monkeypatch, variables)
    assert {name: settings[name] for name in meant} == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1/s", Rate(1, 1)),
        ("2/sec", Rate(2, 1)),
        ("3/m", Rate(3, 60)),
        ("4/hour", Rate(4, 3600)),
        ("5/d", Rate(5, 86400)),
        ("", None),
    ],
)
def test_rates(text: str, meant: Rate | None) -> None:
    assert EnvironmentReader({"R": text}).rate("R", "1/min") == meant


def test_a_message_about_the_database_never_repeats_the_password() -> None:
    with pytest.raises(EnvironmentProblem) as refusal:
        EnvironmentReader({"DATABASE_URL": "mysql://u:hunter2@h/x"}).database("DATABASE_URL", "")
    assert "hunter2" not in str(refusal.value)


def test_a_message_about_the_cache_never_repeats_the_password() -> None:
    for end in (":port/0", "/0?ssl_ca_cert=x", "/0?ssl_ca_certs=/no/such/file"):
        with pytest.raises(EnvironmentProblem) as refusal:
            EnvironmentReader({"CACHE_URL": f"rediss://u:hunter2@h{end}"}).cache_url("CACHE_URL")
        assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    "address", ["redis://h", "rediss://user:p%40ss@h:6380/1?ssl_ca_certs=/etc/hostname", "unix:///run/valkey.sock?db=1"]
)
def test_cache_addresses(address: str) -> None:
    assert EnvironmentReader({"C": address}).cache_url("C") == address


@pytest.mark.parametrize(
    ("url", "chosen", "path"),
    [
        ("http://inference:8000", {"INFERENCE_GENERATE_PATH": "/"}, ""),
        ("http://inference:8000", {"INFERENCE_GENERATE_PATH": ""}, ""),
        ("https://team--nanochat-generate.modal.run", {}, ""),
        ("https://team--nanochat.modal.run/", {"INFERENCE_GENERATE_PATH": "/generate"}, "/generate"),
        ("https://modal.run.example.com", {}, "/generate"),
        ("https://notmodal.run", {}, "/generate"),
    ],
)
def test_where_replies_are_asked_for(monkeypatch: pytest.MonkeyPatch, url: str, chosen: dict[str, str], path: str) -> None:
    settings = read_settings(monkeypatch, {"INFERENCE_SERVICE_URL": url, **chosen})
    assert settings["INFERENCE_GENERATE_PATH"] == path


def test_a_cache_url_shares_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read_settings(monkeypatch, {"CACHE_URL": "redis://cache:6379/1"})
    assert settings["CACHES"]["default"] == {
        "BACKEND": "chatapi.cache.shared_cache.SharedRedisCache",
        "LOCATION": "redis://cache:6379/1",
    }


@pytest.mark.parametrize(("protocol", "is_sent"), [("nanochat", True), ("openai", False)])
def test_the_internal_key_is_for_our_own_services(monkeypatch: pytest.MonkeyPatch, protocol: str, is_sent: bool) -> None:
    settings = read_settings(monkeypatch, {"INFERENCE_PROTOCOL": protocol})
    assert settings["INFERENCE_SEND_INTERNAL_KEY"] is is_sent
