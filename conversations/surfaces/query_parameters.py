"""Query parameters. An invalid one is a 400 that names it."""

import re
from functools import cache
from typing import TypeVar
from zoneinfo import ZoneInfo, available_timezones

from django.http import QueryDict
from rest_framework.exceptions import ValidationError

Choice = TypeVar("Choice", bound=str)


def read_whole_number(params: QueryDict, name: str, default: int, *, least: int, most: int) -> int:
    value = params.get(name)
    if value is None:
        return default
    # Long enough for the numbers of events, see `openai.streams.sequence`.
    if not re.fullmatch(r"\d{1,16}", value, re.ASCII) or not least <= int(value) <= most:
        raise ValidationError({name: [f"Must be a whole number from {least} to {most}."]})
    return int(value)


def read_text(params: QueryDict, name: str, *, longest: int) -> str:
    value = params.get(name, "")
    if len(value) > longest:
        raise ValidationError({name: [f"Must have at most {longest} characters."]})
    if "\x00" in value:
        raise ValidationError({name: ["Null characters are not allowed."]})
    return value


def read_flag(params: QueryDict, name: str) -> bool | None:
    value = params.get(name)
    if value is None:
        return None
    if value not in ("true", "false"):
        raise ValidationError({name: ["Must be true or false."]})
    return value == "true"


def read_choice(params: QueryDict, name: str, choices: tuple[Choice, ...]) -> Choice:
    """Return one of the choices, the first by default."""
    value = params.get(name, choices[0])
    for choice in choices:
        if value == choice:
            return choice
    raise ValidationError({name: [f"Must be one of {', '.join(choices)}."]})


def read_zone(params: QueryDict) -> ZoneInfo:
    """Return the time zone in `?tz=`, else UTC. Its name is never sent to PostgreSQL, which may know other names."""
    name = params.get("tz") or "UTC"
    if name not in _zone_names():
        raise ValidationError({"tz": ["Must be a time zone such as Europe/Berlin."]})
    return ZoneInfo(name)


@cache
def _zone_names() -> frozenset[str]:
    # `localtime` depends on the machine, and Factory is not a time zone.
    return frozenset(available_timezones() - {"localtime", "Factory"})
