"""Template filters of the admin's pages."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.template import Library
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from chatapi.api.rows import is_known_time, known_time
from conversations.admin.visible import visible
from conversations.services.staff.failures import explain, explain_end
from conversations.services.usage.model_prices import Cost, cost_of, price_of
from conversations.sign_in.devices import describe_device
from inference_proxy.protocols.tool_calls import ToolCall, read_call_id, read_calls

register = Library()
register.filter("visible", visible)
register.filter("device", describe_device)

# A fenced code block. In a reply that broke off, it may lack its closing fence.
CODE_BLOCK = re.compile(r"^```[^\n`]*\n(.*?)(?:^```[ \t]*$\n?|\Z)", re.MULTILINE | re.DOTALL)


@register.filter
def with_code(text: str) -> SafeString:
    """Put fenced code into `<pre>`. Escape all text and otherwise leave it unchanged."""
    parts = []
    position = 0
    for block in CODE_BLOCK.finditer(text):
        parts += [escape(text[position : block.start()].rstrip("\n")), f"<pre>{escape(block[1].rstrip())}</pre>"]
        position = block.end()
    parts.append(escape(text[position:].lstrip("\n") if position else text))
    return mark_safe("".join(parts))  # noqa: S308  # every part is escaped above


@register.filter
def duration(milliseconds: int) -> str:
    """Format milliseconds for people: 340 ms, 4.2 s, 72 s."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    seconds = milliseconds / 1000
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


@register.filter
def known(time: datetime | None) -> datetime | None:
    """Return a time, or None for one that Python can't read, such as `infinity`: it would be shown as the year 9999."""
    return time if is_known_time(time) else None


@register.filter
def grouped(number: int) -> str:
    """Format a number with thousands separators: 1,234,567."""
    return f"{number:,}"


@register.filter
def explained(message: Any) -> str:
    """Say what happened to a reply that failed or was interrupted."""
    return explain(message.status, message.error_code)


@register.filter
def why_it_ended(message: Any) -> str:
    """Say why a reply that did not fail is shorter than it could be, or ""."""
    return explain_end(message.status, message.finish_reason) if message.role == "assistant" else ""


@register.filter
def calls(stored: Any) -> tuple[ToolCall, ...]:
    """Return the calls of tools in a reply's column."""
    return read_calls(stored)


@register.filter
def call_id(stored: Any) -> str:
    """Return the call that a message is the output of, "" if it is none."""
    return read_call_id(stored)


@register.filter
def cost(total: Cost) -> str:
    """Format a cost: 1.25 USD, "at least 1.25 USD" if a part is not known, or "unknown"."""
    if not total.is_whole and not total.known:
        return "unknown"
    return _amount(total.known) if total.is_whole else f"at least {_amount(total.known)}"


@register.filter
def message_cost(message: Any) -> str:
    """Format the cost of a reply. "" if there are no prices, or it is no reply of a model."""
    if not settings.MODEL_PRICES or message.role != "assistant" or message.token_count is None or message.source:
        return ""
    price = price_of(settings.MODEL_PRICES, message.model_tag, known_time(message.created_at).date())
    amount = cost_of(price, tokens=message.token_count, prompt_tokens=message.prompt_tokens)
    return "cost unknown" if amount is None else _amount(amount)


def _amount(amount: Decimal) -> str:
    """Write hundredths, and of smaller amounts the first two digits that say something."""
    digits = max(2, 1 - amount.adjusted()) if amount else 2
    written = f"{amount:,.{digits}f}"
    return f"{written} {settings.MODEL_PRICES_CURRENCY}".rstrip()
