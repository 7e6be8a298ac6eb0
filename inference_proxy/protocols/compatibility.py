"""What some servers with OpenAI's chat completions refuse in a request, and how the request is changed for them.

INFERENCE_COMPATIBILITY names changes that are always made. Others are learnt: if a server refuses a request with a 400 or 422
that calls a field unsupported, the request is repeated at once with the changed field. If the server takes it,
this process changes all later requests for that model. The answer of a refusal may quote what a user wrote, so it is read and
never logged or shown.
"""

import logging
import re
from collections.abc import Iterable
from typing import Any

from django.conf import settings

from inference_proxy.exceptions import Refusal
from inference_proxy.protocols.refusals.error_reports import read_error

logger = logging.getLogger(__name__)

Body = dict[str, Any]

# The changes: the field that is left out, and the name that its value gets instead.
CHANGES: dict[str, tuple[str, str | None]] = {
    "max_completion_tokens": ("max_tokens", "max_completion_tokens"),
    "no_stream_options": ("stream_options", None),
    "no_temperature": ("temperature", None),
    "no_top_k": ("top_k", None),
    "no_reasoning_effort": ("reasoning_effort", None),
}
# A server also names `temperature` when a user's choice is out of its range. That must not change other users' requests.
LEARNT = ("max_completion_tokens", "no_stream_options", "no_top_k", "no_reasoning_effort")
LEARNT_FROM = (400, 422)
# Models beyond this number learn nothing.
MOST_MODELS = 1000
# How servers say that they don't know a field. An answer about its value has none of these words: it is about
# the choice of one user.
UNSUPPORTED = re.compile(
    rb"unsupported[ _]parameter|unknown[ _](?:parameter|argument|field|name)|unrecognized|unexpected (?:keyword|field|argument)"
    rb"|extra (?:fields|inputs)|extra_forbidden|not permitted|additional properties are not allowed"
    rb"|argument not supported|(?:use|using|instead:?) ['\"`]*max_completion_tokens"
    rb"|(?:parameter|property|field|argument|(?<!for )(?<!of )(?:top_k|max_tokens|stream_options|reasoning_effort))"
    rb"['\"`\\\\]*,? (?:is|are) (?:currently )?(?:unsupported|not (?:supported|allowed|recognized))",
    re.IGNORECASE,
)
FIELD = re.compile(rb"(?<![A-Za-z0-9_])(?:max_tokens|stream_options|top_k|reasoning_effort)(?![A-Za-z0-9_])")


def read_refusal(status: int | None, answer: bytes) -> Refusal:
    """Read the answer of a refusal, or the beginning of a long one."""
    fields = frozenset(found.decode() for found in FIELD.findall(answer)) if UNSUPPORTED.search(answer) else frozenset()
    error = read_error(answer)
    return Refusal(status, error.code, error.kind, fields)


class Compatibility:
    """The changes that this process makes, by model."""

    def __init__(self) -> None:
        self._learnt: dict[str, frozenset[str]] = {}

    def change(self, body: Body) -> Body:
        """Return a body as the server is known to take it."""
        return _changed(body, {*settings.INFERENCE_COMPATIBILITY, *self._learnt.get(_model_of(body), ())})

    def change_after(self, body: Body, refusal: Refusal) -> Body | None:
        """Return the body that the server may take after this refusal, or None if there is nothing to change."""
        if refusal.status not in LEARNT_FROM:
            return None
        changed = _changed(body, (name for name in LEARNT if CHANGES[name][0] in refusal.fields))
        return None if changed == body else changed

    def learn(self, refused: Body, taken: Body) -> None:
        """Remember that the server refused the first body and took the second."""
        model = _model_of(taken)
        known = self._learnt.get(model, frozenset())
        new = frozenset(name for name in LEARNT if CHANGES[name][0] in refused.keys() - taken.keys()) - known
        if new and (known or len(self._learnt) < MOST_MODELS):
            self._learnt[model] = known | new
            logger.warning("inference service refuses fields: requests are changed from now on", extra={"changes": sorted(new)})

    def forget(self) -> None:
        self._learnt.clear()


def _changed(body: Body, names: Iterable[str]) -> Body:
    changed = dict(body)
    for name in names:
        field, other_name = CHANGES[name]
        value = changed.pop(field, None)
        if other_name is not None and value is not None:
            changed[other_name] = value
    return changed


def _model_of(body: Body) -> str:
    return str(body.get("model", ""))


compatibility = Compatibility()
