"""Django settings, only from environment variables. docs/configuration.md lists them."""

import os
from pathlib import Path
from typing import Any

from corsheaders.defaults import default_headers
from django.core.exceptions import ImproperlyConfigured

from chatapi import __version__
from chatapi.database.options import connection_settings, replica_settings
from chatapi.environment import EnvironmentProblem, EnvironmentReader, has_domain
from chatapi.observability.logs import logging_configuration
from conversations.services.usage.model_prices import parse_prices
from conversations.services.webhooks.signatures import check_secrets
from conversations.surfaces.cross_origin import READ_HEADERS, SENT_HEADERS
from inference_proxy.protocols import PROTOCOLS
from inference_proxy.protocols.compatibility import CHANGES

LEAST_SECRET_KEY_CHARACTERS = 32
BASE_DIR = Path(__file__).resolve().parent.parent
_environment = EnvironmentReader(os.environ)

try:
    # --- The service ---------------------------------------------------------------------------------------------------
    AUTH_SERVICE_URL = _environment.service_url("AUTH_SERVICE_URL", "http://auth:8001")
    AUTH_CACHE_SECONDS = _environment.whole("AUTH_CACHE_SECONDS", 300, least=0, most=86400)
    INFERENCE_SERVICE_URL = _environment.service_url("INFERENCE_SERVICE_URL", "http://inference:8000")
    # On Modal the base URL is the generating endpoint itself, as in the predecessor's documentation.
    INFERENCE_GENERATE_PATH = _environment.path(
        "INFERENCE_GENERATE_PATH", "" if has_domain(INFERENCE_SERVICE_URL, "modal.run") else "/generate"
    )
    INFERENCE_PROTOCOL = _environment.choice("INFERENCE_PROTOCOL", "nanochat", tuple(PROTOCOLS))
    INFERENCE_MODEL = _environment.text("INFERENCE_MODEL")
    INFERENCE_API_KEY = _environment.header_value("INFERENCE_API_KEY")
    INFERENCE_COMPATIBILITY = _environment.choices("INFERENCE_COMPATIBILITY", tuple(CHANGES))
    # Whether a leading <think>…</think> is reasoning, and whether reasoning goes upstream with the history.
    INFERENCE_THINK_TAGS = _environment.flag("INFERENCE_THINK_TAGS", True)
    # Models, as patterns, whose service goes on with a last message of the model's own.
    INFERENCE_PREFILL = _environment.several("INFERENCE_PREFILL")
    # Models, as patterns, whose output begins inside the thought, because their template has the opening tag.
    INFERENCE_THINK_INSIDE = _environment.several("INFERENCE_THINK_INSIDE")
    # Tags of models' own: [model pattern, opening tag, closing tag].
    INFERENCE_THINK_PAIRS = _environment.tag_pairs("INFERENCE_THINK_PAIRS")
    INFERENCE_SEND_REASONING = _environment.flag("INFERENCE_SEND_REASONING", False)
    # Names of models that clients under /v1 have built in, and what answers.
    MODEL_ALIASES = _environment.names("MODEL_ALIASES")
    ALLOWED_MODELS = frozenset(_environment.several("ALLOWED_MODELS"))
    UNNAMED_TITLES = frozenset(_environment.several("UNNAMED_TITLES"))
    INTERNAL_API_KEY = _environment.header_value("INTERNAL_API_KEY")
    INFERENCE_SEND_INTERNAL_KEY = _environment.flag("INFERENCE_SEND_INTERNAL_KEY", INFERENCE_PROTOCOL == "nanochat")
    # Sampling defaults if neither the client nor the assistant sets a value. None: the protocol's default.
    INFERENCE_DEFAULT_TEMPERATURE = _environment.number_or_none("INFERENCE_DEFAULT_TEMPERATURE", least=0, most=2)
    INFERENCE_DEFAULT_MAX_TOKENS = _environment.whole_or_none("INFERENCE_DEFAULT_MAX_TOKENS", least=1, most=1_000_000)
    INFERENCE_DEFAULT_TOP_K = _environment.whole_or_none("INFERENCE_DEFAULT_TOP_K", least=0, most=1_000_000)
    TLS_CA_FILE = _environment.trusted("TLS_CA_FILE")
    # These conventional variables replace the default authorities. A folder must have the form that OpenSSL expects.
    TLS_TRUSTED = [
        path
        for path in (_environment.trusted("REQUESTS_CA_BUNDLE", may_be_folder=True), _environment.trusted("SSL_CERT_FILE"))
        if path
    ]
    MAX_CONVERSATION_HISTORY = _environment.whole("MAX_CONVERSATION_HISTORY", 50, least=1, most=1000)
    MAX_TOKEN_BUDGET = _environment.whole("MAX_TOKEN_BUDGET", 6000, least=1, most=10_000_000)
    MAX_MESSAGE_CHARACTERS = _environment.whole("MAX_MESSAGE_CHARACTERS", 8_000, least=1, most=200_000)
    MAX_OUTPUT_TOKENS = _environment.whole("MAX_OUTPUT_TOKENS", 4_096, least=1, most=131_072)
    SYSTEM_PROMPT = _environment.text("SYSTEM_PROMPT")
    THINKING_PROMPT = _environment.text("THINKING_PROMPT")
    TITLE_MODEL = _environment.text("TITLE_MODEL")
    INFERENCE_START_TIMEOUT = _environment.seconds("INFERENCE_START_TIMEOUT", 60)
    INFERENCE_IDLE_TIMEOUT = _environment.seconds("INFERENCE_IDLE_TIMEOUT", 60)
    GENERATION_TIMEOUT = _environment.seconds("GENERATION_TIMEOUT", 600)
    CHECKPOINT_SECONDS = _environment.seconds("CHECKPOINT_SECONDS", 1)
    # Only for the fault suite, which shortens it. See `services.replies.leases`.
    ABANDONED_AFTER_SECONDS = _environment.seconds("ABANDONED_AFTER_SECONDS", 30)
    WAKEUPS_PER_SECOND = _environment.whole("WAKEUPS_PER_SECOND", 9_000, least=0)
    TRASH_DAYS = _environment.whole("TRASH_DAYS", 0, least=0, most=3_650)
    MAX_RUNNING_REPLIES = _environment.whole("MAX_RUNNING_REPLIES", 4_000, least=0)
    HEARTBEAT_SECONDS = _environment.seconds("HEARTBEAT_SECONDS", 15)
    USER_MAX_GENERATIONS = _environment.whole("USER_MAX_GENERATIONS", 8, least=0)
    USER_MAX_STREAMS = _environment.whole("USER_MAX_STREAMS", 20, least=0)
    USER_MAX_CHANGE_STREAMS = _environment.whole("USER_MAX_CHANGE_STREAMS", 20, least=0)
    # Tokens of replies per user. 0: no quota.
    QUOTA_TOKENS_DAY = _environment.whole("QUOTA_TOKENS_DAY", 0, least=0)
    QUOTA_TOKENS_MONTH = _environment.whole("QUOTA_TOKENS_MONTH", 0, least=0)
    # What the models cost, and in which currency.
    MODEL_PRICES = parse_prices("MODEL_PRICES", _environment.text("MODEL_PRICES"))
    MODEL_PRICES_CURRENCY = _environment.text("MODEL_PRICES_CURRENCY")
    THROTTLE_SEND = _environment.rate("THROTTLE_SEND", "60/min")
    THROTTLE_READ = _environment.rate("THROTTLE_READ", "600/min")
    THROTTLE_ADDRESS = _environment.rate("THROTTLE_ADDRESS", "1200/min")
    THROTTLE_PROBE = _environment.rate("THROTTLE_PROBE", "6000/min")
    THROTTLE_REJECTED_TOKENS = _environment.rate("THROTTLE_REJECTED_TOKENS", "120/min")
    TRUSTED_PROXIES = _environment.networks("TRUSTED_PROXIES")
    THROTTLE_LOGIN = _environment.rate("THROTTLE_LOGIN", "10/min")
    ALLOW_ANONYMOUS = _environment.flag("ALLOW_ANONYMOUS", False)
    ANONYMOUS_MAX_GENERATIONS = _environment.whole("ANONYMOUS_MAX_GENERATIONS", 2, least=0)
    ADMIN_EMAILS = _environment.emails("ADMIN_EMAILS")
    METRICS_PORT = _environment.whole_or_none("METRICS_PORT", least=1, most=65535)
    METRICS_TOKEN = _environment.bearer_token("METRICS_TOKEN")
    # Where events are told; see `services.webhooks`. Several secrets while they change: each signs.
    WEBHOOK_ALLOW_PRIVATE = _environment.flag("WEBHOOK_ALLOW_PRIVATE", False)
    WEBHOOK_URL = _environment.receiver_url("WEBHOOK_URL", may_be_plain=WEBHOOK_ALLOW_PRIVATE)
    WEBHOOK_SECRETS = check_secrets("WEBHOOK_SECRET", _environment.several("WEBHOOK_SECRET"))
    WEBHOOK_ATTEMPTS = _environment.whole("WEBHOOK_ATTEMPTS", 12, least=1, most=100)
    WEBHOOK_KEEP_DAYS = _environment.whole("WEBHOOK_KEEP_DAYS", 7, least=1, most=90)
    WEBHOOK_INCLUDE_TEXT = _environment.flag("WEBHOOK_INCLUDE_TEXT", False)
    if WEBHOOK_URL and not WEBHOOK_SECRETS:
        raise EnvironmentProblem("WEBHOOK_URL needs WEBHOOK_SECRET, with which the receiver checks who sends")
    # The packages read further variables of theirs; see requirements-observability.txt.
    OTEL_EXPORTER_OTLP_ENDPOINT = _environment.optional_url("OTEL_EXPORTER_OTLP_ENDPOINT")
    SENTRY_DSN = _environment.sentry_dsn("SENTRY_DSN")
    ARE_METRICS_SERVED = METRICS_PORT is not None or bool(METRICS_TOKEN)

    # --- Django's ------------------------------------------------------------------------------------------------------
    SECRET_KEY = _environment.required("SECRET_KEY", "a long random text, the same on every node")
    DEBUG = _environment.flag("DEBUG", False)
    if not DEBUG and len(SECRET_KEY) < LEAST_SECRET_KEY_CHARACTERS:
        raise EnvironmentProblem(f"SECRET_KEY must have at least {LEAST_SECRET_KEY_CHARACTERS} characters")
    TRY_PAGE = _environment.flag("TRY_PAGE", DEBUG)
    SECRET_KEY_FALLBACKS = _environment.secrets("SECRET_KEY_FALLBACKS", least=0 if DEBUG else LEAST_SECRET_KEY_CHARACTERS)
    ADMIN_ENABLED = _environment.flag("ADMIN_ENABLED", True)
    ADMIN_REASON = _environment.choice("ADMIN_REASON", "off", ("off", "optional", "required"))
    _insecure_cookies = _environment.flag("INSECURE_COOKIES", False)
    # Staff sign in at an identity provider (OpenID Connect), which names their groups.
    ADMIN_OIDC_ISSUER = _environment.optional_url("ADMIN_OIDC_ISSUER")
    ADMIN_OIDC_CLIENT_ID = _environment.text("ADMIN_OIDC_CLIENT_ID")
    ADMIN_OIDC_CLIENT_SECRET = _environment.text("ADMIN_OIDC_CLIENT_SECRET")
    ADMIN_OIDC_GROUPS = _environment.names("ADMIN_OIDC_GROUPS")
    ADMIN_OIDC_GROUPS_CLAIM = _environment.text("ADMIN_OIDC_GROUPS_CLAIM", "groups")
    ADMIN_OIDC_SCOPES = _environment.text("ADMIN_OIDC_SCOPES", "openid email profile")
    ADMIN_OIDC_RECHECK_MINUTES = _environment.whole("ADMIN_OIDC_RECHECK_MINUTES", 60, least=5, most=720)
    if ADMIN_OIDC_ISSUER:
        if not (ADMIN_OIDC_CLIENT_ID and ADMIN_OIDC_CLIENT_SECRET and ADMIN_OIDC_GROUPS):
            raise EnvironmentProblem(
                "ADMIN_OIDC_ISSUER needs ADMIN_OIDC_CLIENT_ID, ADMIN_OIDC_CLIENT_SECRET and ADMIN_OIDC_GROUPS (who is staff)"
            )
        if "openid" not in ADMIN_OIDC_SCOPES.split():
            raise EnvironmentProblem("ADMIN_OIDC_SCOPES must contain openid")
        if not (DEBUG or _insecure_cookies or ADMIN_OIDC_ISSUER.startswith("https:")):
            raise EnvironmentProblem("ADMIN_OIDC_ISSUER must be an https URL")
    ADMIN_PASSWORDS = _environment.flag("ADMIN_PASSWORDS", True)
    if not (ADMIN_PASSWORDS or ADMIN_OIDC_ISSUER):
        raise EnvironmentProblem("ADMIN_PASSWORDS=false needs ADMIN_OIDC_ISSUER: without it, staff can't sign in")
    # A second factor of those who sign in with a password.
    ADMIN_SECOND_FACTOR = _environment.choice("ADMIN_SECOND_FACTOR", "optional", ("off", "optional", "required"))
    ALLOWED_HOSTS = _environment.allowed_hosts("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1],chat-api")
    CORS_ALLOWED_ORIGINS = _environment.origins("FRONTEND_URL", "http://localhost:3000")
    _more_cors_headers = _environment.header_names("CORS_ALLOW_HEADERS")
    LOG_LEVEL = _environment.log_level("LOG_LEVEL")
    _database = _environment.database("DATABASE_URL", "postgresql://localhost/samosachaat")
    DB_POOL_SIZE = _environment.whole("DB_POOL_SIZE", 10, least=1, most=1000)
    DATABASE_PREPARED_STATEMENTS = _environment.choice("DATABASE_PREPARED_STATEMENTS", "auto", ("auto", "true", "false"))
    _cache_url = _environment.cache_url("CACHE_URL")
    _replica = _environment.replica("DATABASE_REPLICA_URL")
    DATABASE_REPLICA_MAX_LAG = _environment.seconds("DATABASE_REPLICA_MAX_LAG", 5, least=2)
    if _replica is not None and not _cache_url:
        # The workers tell each other through it which users have just written.
        raise EnvironmentProblem("DATABASE_REPLICA_URL needs CACHE_URL, the shared cache")
    # Django's default of 300 entries would be too few for tokens.
    _cache_entries = _environment.whole("AUTH_CACHE_MAX_SIZE", 100_000, least=1)
except EnvironmentProblem as problem:
    raise ImproperlyConfigured(str(problem)) from None

INSTALLED_APPS = [
    # Before the admin, so that its templates override the admin's.
    "conversations",
    "conversations.apps.StaffAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]

# No GZipMiddleware: it would hold tokens back. No ATOMIC_REQUESTS below: a transaction would stay open while streaming.
MIDDLEWARE = [
    "chatapi.database.connections.ReleaseConnectionsMiddleware",
    "chatapi.incoming.client_address.ClientAddressMiddleware",
    "chatapi.observability.middleware.RequestLogMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    # Around all that may refuse a request.
    "chatapi.incoming.response_shapes.ResponseShapeMiddleware",
    # After CORS, so that browsers can read a refusal. CORS also answers preflights.
    "chatapi.limits.throttling.AddressLimitMiddleware",
    "chatapi.incoming.refused_bodies.RefuseBodiesMiddleware",
    "chatapi.incoming.unread_responses.UnreadResponsesMiddleware",
    "chatapi.incoming.content_security.ContentSecurityMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "conversations.sign_in.staff_middleware.SessionMiddleware",
    "chatapi.incoming.paths.PathMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "conversations.sign_in.staff_middleware.AuthenticationMiddleware",
    "conversations.sign_in.staff_middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "chatapi.urls"
ADMIN_PATH = "/admin/"
WSGI_APPLICATION = "chatapi.wsgi.application"
APPEND_SLASH = False
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# The pool for requests. Replies are saved over separate connections. A request that waits longer than `timeout` is refused with
# Retry-After.
DATABASES: dict[str, dict[str, Any]] = {
    "default": connection_settings(_database, pool={"min_size": 1, "max_size": DB_POOL_SIZE, "timeout": 5, "max_idle": 60})
}
# Not among DATABASES, because a block of reads uses it in the place of the primary (see `chatapi.database.replica`).
DATABASE_REPLICA: dict[str, Any] | None = None
if _replica is not None:
    DATABASE_REPLICA = replica_settings(_replica)
    MIDDLEWARE.append("chatapi.database.recent_writes.SlowWritesMiddleware")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES: dict[str, dict[str, Any]]
if _cache_url:
    CACHES = {"default": {"BACKEND": "chatapi.cache.shared_cache.SharedRedisCache", "LOCATION": _cache_url}}
else:
    CACHES = {
        "default": {
            "BACKEND": "chatapi.cache.process_cache.ProcessCache",
            "OPTIONS": {"MAX_ENTRIES": _cache_entries},
        }
    }

# Called with `user_id`, `email`, `name` and `is_admin` of each user whom the auth service describes. Must not fail.
USER_HOOK = "conversations.services.user_directory.remember_user"
# Called with the user's id, or "", and the status of each request that was answered with 400 to 499.
REFUSAL_HOOK = "conversations.services.usage.refusal_counts.note_refused"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["chatapi.auth.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["chatapi.api.wire.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "chatapi.api.wire.AlwaysJSON",
    "DEFAULT_THROTTLE_CLASSES": ["conversations.surfaces.throttles.ReadThrottle"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "chatapi.api.errors.handle_exception",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Chat API",
    "DESCRIPTION": "Stores conversations, streams replies token by token, and saves each reply while it is written.",
    "VERSION": __version__,
    "OAS_VERSION": "3.1.1",
    "SERVERS": [{"url": "/", "description": "The server that serves this file"}],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # Do not store tokens in localStorage, where any script of the same origin could read them.
    "SWAGGER_UI_SETTINGS": {"persistAuthorization": False, "displayRequestDuration": True},
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api",
    # Several surfaces use the same choices under different field names.
    "ENUM_NAME_OVERRIDES": {
        "RoleEnum": ["user", "assistant", "system"],
        "MessageStatusEnum": ["streaming", "complete", "stopped", "interrupted", "failed", "queued"],
        "WhenBusyEnum": ["reject", "interrupt"],
        "SendWhenBusyEnum": ["reject", "interrupt", "enqueue"],
        "MessageRoleEnum": ["user", "assistant", "system", "tool"],
        "ErrorCode": "conversations.surfaces.openapi.CODES",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "conversations.surfaces.openapi.complete_description",
    ],
}

# Without it, browsers refuse the responses to `credentials: "include"`. The API reads no cookies. The admin does, so no other
# origin may read its pages.
CORS_ALLOW_CREDENTIALS = True
CORS_URLS_REGEX = r"^/(?!admin(/|$))"
CORS_ALLOW_HEADERS = [*default_headers, *SENT_HEADERS, *_more_cors_headers]
CORS_EXPOSE_HEADERS = READ_HEADERS

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "static/"
# The page at `/` is one of the examples, and uses another.
STATICFILES_DIRS = [("examples", BASE_DIR / "examples")] if TRY_PAGE else []
# Serve static files directly from their packages, without collectstatic.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

LOGGING = logging_configuration(LOG_LEVEL)

# Size limits of request bodies, see request_bodies.py. Clients of some routes also send the whole history.
ORDINARY_BODY = 256 * 1024
# JSON may write a character as two escapes of six bytes.
DATA_UPLOAD_MAX_MEMORY_SIZE = max(ORDINARY_BODY, 12 * MAX_MESSAGE_CHARACTERS + 16 * 1024)
MAX_BODY_WITH_HISTORY = 8 * 1024 * 1024
# Of a caller without an Authorization header, where ALLOW_ANONYMOUS lets them send.
MAX_STRANGERS_BODY = max(1024 * 1024, DATA_UPLOAD_MAX_MEMORY_SIZE)
# No URL accepts files, so files in a multipart body are discarded.
FILE_UPLOAD_HANDLERS: list[str] = []
# Only staff have sessions. The API uses tokens.
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 12 * 3600
# Browsers don't send these cookies over plain HTTP, so a staff login needs TLS or INSECURE_COOKIES=true.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not (DEBUG or _insecure_cookies)
SECURE_HSTS_SECONDS = 0 if DEBUG or _insecure_cookies else 365 * 86400
SECURE_CONTENT_TYPE_NOSNIFF = True
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
if ADMIN_OIDC_ISSUER:
    AUTHENTICATION_BACKENDS.append("conversations.sign_in.single_sign_on.SingleSignOnBackend")
OTP_TOTP_ISSUER = "Chat support"
PASSWORD_HASHERS = ["conversations.sign_in.password_hashing.PatientPBKDF2PasswordHasher"]
# Only from trusted proxies: ClientAddressMiddleware drops the header of all others.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SILENCED_SYSTEM_CHECKS = [
    # TLS ends at the proxy, which redirects browsers. Services in the same network use plain HTTP.
    "security.W008",
    # HSTS for subdomains and preload lists are decisions of the domain's owner.
    "security.W005",
    "security.W021",
]
