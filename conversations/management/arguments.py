"""Argument types of the commands. Each raises `ArgumentTypeError` with a sentence for the terminal."""

import argparse
import calendar
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

from conversations.tags import MAX_TAG_CHARACTERS, clean_tag

PERIOD_FORM = re.compile(r"(\d{1,6})([dwmy])")


def past_moment(text: str) -> datetime:
    """Read a period before now (90d, 12w, 6m, 1y) or a date (midnight UTC). Refuse a time in the future."""
    now = datetime.now(UTC)
    forms = "a period such as 90d, 12w, 6m or 1y, nor a date such as 2026-01-31"
    moment = _period_ago(text, now) if PERIOD_FORM.fullmatch(text) else _date(text, f"neither {forms}")
    if moment > now:
        raise argparse.ArgumentTypeError(f"{text} is in the future")
    return moment


def future_moment(text: str) -> datetime:
    """Read a date (midnight UTC) or a time that is still to come."""
    moment = _date(text, "not a date such as 2027-01-31")
    if moment <= datetime.now(UTC):
        raise argparse.ArgumentTypeError(f"{text} is in the past")
    return moment


def conversation(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not the id of a conversation") from None


def user(text: str) -> str:
    """Read the id or the e-mail address of a user. `users.user_named` finds the user."""
    with suppress(ValueError):
        return str(UUID(text))
    if "@" in text.strip("@"):
        return text.strip()
    raise argparse.ArgumentTypeError(f"{text!r} is neither the UUID nor the e-mail address of a user")


def tag(text: str) -> str:
    found = clean_tag(text)
    if not 0 < len(found) <= MAX_TAG_CHARACTERS:
        raise argparse.ArgumentTypeError(f"a tag has 1 to {MAX_TAG_CHARACTERS} characters")
    return found


def positive(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def count(text: str) -> int:
    return 0 if text == "0" else positive(text)


def seconds(text: str) -> float:
    if not re.fullmatch(r"\d{1,7}(\.\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return float(text)


def _date(text: str, otherwise: str) -> datetime:
    """`otherwise` ends the sentence about a text that is no date."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is {otherwise}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _period_ago(text: str, now: datetime) -> datetime:
    number, unit = int(text[:-1]), text[-1]
    try:
        if unit in "dw":
            return now - timedelta(days=number * (7 if unit == "w" else 1))
        return _months_before(now, number * (12 if unit == "y" else 1))
    except (OverflowError, ValueError):
        raise argparse.ArgumentTypeError(f"{text} reaches back before the year 1") from None


def _months_before(now: datetime, months: int) -> datetime:
    """Go back by calendar months. The 31st becomes the last day of a shorter month."""
    years, month = divmod(now.year * 12 + now.month - 1 - months, 12)
    last_day = calendar.monthrange(years, month + 1)[1]
    return now.replace(year=years, month=month + 1, day=min(now.day, last_day))
