"""Offer the tools of an earlier answer again, if another one is made in its place and the request does not choose."""

from dataclasses import replace

from conversations.querysets import MessageQuerySet
from conversations.services.sending.turn import ReplySettings
from conversations.services.sending.upstream_messages import sends_tools

NAMES = ("tools", "tool_choice", "parallel_tool_calls")


def with_earlier_tools(chosen: ReplySettings, replies: MessageQuerySet) -> ReplySettings:
    """Return the settings with the tools of the active one of these replies, else of the newest. One query at most."""
    if chosen.sampling.tools is not None or not sends_tools():
        return chosen
    options = replies.order_by("-is_active", "-created_at", "-id").values_list("request_options", flat=True).first()
    stored = options.get("tools") if isinstance(options, dict) else None
    # An imported archive may bring anything.
    if not isinstance(stored, dict) or not stored.get("tools") or not isinstance(stored["tools"], list):
        return chosen
    offered = {name: stored[name] for name in NAMES if name in stored}
    terms = replace(chosen.terms, options={**(chosen.terms.options or {}), "tools": offered})
    return replace(chosen, sampling=replace(chosen.sampling, tools=offered), terms=terms)
