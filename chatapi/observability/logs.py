"""Single-line JSON logs on stdout.

Every line has `timestamp, level, service, message`; `trace_id` and `user_id` come from the request (or the generation that
it started) through context variables. Never log a token, a key or what a user wrote: pass ids and numbers as `extra`.
"""

import logging
import re
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson
from django.core.exceptions import ImproperlyConfigured

SERVICE_NAME = "chat-api"

# Mistakes in the program or its configuration: their text says what is wrong and can't quote a user.
TELLING_ERRORS = (ImportError, NameError, SyntaxError, ImproperlyConfigured)

# Loggers of Django whose messages are "%s: %s", what happened and the request's path.
PATH_LOGGERS = ("django.request", "django.security.csrf")
# gunicorn quotes the address of a request that it can't read or that fails. Its query may hold a stream ticket or a search.
QUERY = re.compile(r"\?\S*")

trace_id_var: ContextVar[str] = ContextVar("trace_id", default="")
user_id_var: ContextVar[str] = ContextVar("user_id", default="")


# What `logging` adds to every record, none of which is in a line: the caller's place, the thread, the process.
logging._srcfile = None
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False

# The attributes of records that are no fields of lines. Django adds the last two.
NO_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "request", "server_time"}


class LogFormatter(logging.Formatter):
    """Write a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": SERVICE_NAME,
            "logger": record.name,
            "message": _message_of(record),
        }
        if trace_id := trace_id_var.get():
            line["trace_id"] = trace_id
        if user_id := user_id_var.get():
            line["user_id"] = user_id
        if record.exc_info:
            # Where it happened, not what it said: an exception's text may quote a row, a header or a message.
            line["error"] = _describe_exception(record)
        line.update((name, value) for name, value in record.__dict__.items() if name not in NO_FIELDS)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _message_of(record: logging.LogRecord) -> str:
    # Django adds the path, which may hold an anonymous session's key; the request's own line names the route.
    if record.name in PATH_LOGGERS and isinstance(record.args, tuple) and record.args:
        return str(record.args[0])
    return QUERY.sub("?…", record.getMessage()) if record.name == "gunicorn.error" else record.getMessage()


def _describe_exception(record: logging.LogRecord) -> str:
    assert record.exc_info is not None
    kind, problem, trace = record.exc_info
    frames = []
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    said = f" ({problem})" if isinstance(problem, TELLING_ERRORS) else ""
    return f"{kind.__name__ if kind else 'Error'}{said} at {' > '.join(frames[-8:])}"


def logging_configuration(level: str) -> dict[str, Any]:
    """Return a `logging.config.dictConfig` dictionary for this process."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "chatapi.observability.logs.LogFormatter"}},
        "handlers": {"stdout": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"}},
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            # Django's own handlers would print a second, unstructured copy.
            "django": {"handlers": [], "propagate": True},
            "django.server": {"handlers": [], "propagate": True},
            # The log line of the request already shows a 4xx.
            "django.request": {"level": "ERROR"},
            "gunicorn.error": {"handlers": [], "propagate": True},
            "urllib3": {"level": "ERROR"},
            # Otherwise every attempt to reconnect writes a line. The code that needs the database logs its absence once.
            "psycopg.pool": {"level": "ERROR"},
        },
    }
