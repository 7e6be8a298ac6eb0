"""Getting the inference service to take a request: without what it refuses, and shorter where it says that it is too long."""

import logging
from typing import Any
from uuid import UUID

from django.conf import settings

from chatapi.observability.tracing import trace_headers
from inference_proxy.exceptions import ContextTooLong, ModelGone, Refusal, UpstreamError, UpstreamFailure, ValueRefused
from inference_proxy.protocols import new_protocol
from inference_proxy.protocols.base import GenerationRequest, characters_of
from inference_proxy.replies.model_limits import model_limits, shortened, size_of
from inference_proxy.replies.store import SentContext
from inference_proxy.upstream.call import UpstreamCall
from inference_proxy.upstream.model_list import model_list

logger = logging.getLogger(__name__)


class Asking:
    """One request for a reply, until the service has taken it. Each try changes it in one of a few ways, so tries are few."""

    def __init__(self, reply_id: UUID, request: GenerationRequest, call: UpstreamCall) -> None:
        # Of the last try: it keeps state about the events of the answer.
        self.protocol = new_protocol()
        self.max_tokens: int | None = None
        # The model that answers, as far as the request or the list of models says; "" if neither does.
        self.model = ""
        # What went upstream, where that is less than the caller chose.
        self.sent: SentContext | None = None
        self._reply_id = reply_id
        self._call = call
        self._request = request
        self._body: dict[str, Any] = {}
        self._first: dict[str, Any] = {}
        self._model = ""
        # In bytes; 0 while nothing is known of the model's limit.
        self._size = 0
        # Whether the service said that a longer request is too long, and named no numbers.
        self._has_unnamed_limit = False

    def ask(self) -> None:
        """Send the request, and again what the service may take instead if it refuses. Raises `UpstreamFailure`."""
        headers = {**self.protocol.headers(), **trace_headers(), "Accept": "text/event-stream"}
        if not self._body:
            self._begin()
        while True:
            try:
                self._call.open(self.protocol.path, self._body, headers)
            except UpstreamFailure as failure:
                if self._change_after(failure):
                    continue
                if failure.refusal is not None:
                    self._log_refusal(failure.refusal)
                raise self._blamed(failure) from None
            else:
                self.model = self._body.get("model") or self._loaded_model()
                self.max_tokens = self._asked_tokens()
                if self._body is not self._first:
                    self.protocol.note_taken(self._first, self._body)
                return

    def shorten(self, failure: ContextTooLong) -> bool:
        """Leave older messages out after this failure; return whether there were any."""
        named, max_tokens = failure.named_tokens, self._asked_tokens()
        if named and failure.names_max_tokens and (max_tokens or 0) >= named[0]:
            # No request is short enough for that.
            return False
        self._size = size_of(self._request)
        if named is None or not model_limits.learn_limit(self._model, self._size, named, max_tokens):
            self._has_unnamed_limit = True
        shorter = shortened(self._request)
        if shorter is None:
            return False
        self._replace(shorter)
        return True

    def forget_messages(self) -> None:
        """Drop the history, because the service has begun its reply. A long reply need not carry it along."""
        self._body = self._first = {}
        self._request = GenerationRequest(messages=[])

    def note_end(self, prompt_tokens: int | None) -> None:
        """Learn from a request that was taken, with the service's count of its tokens."""
        if self._has_unnamed_limit:
            model_limits.learn_taken(self._model, self._size, prompt_tokens)
        elif self._size:
            model_limits.note_count(self._model, self._size, prompt_tokens)

    def _begin(self) -> None:
        self._body = self._first = self.protocol.body(self._request)
        self._model = str(self._body.get("model", ""))
        if model_limits.knows(self._model):
            fitting = model_limits.fit(self._model, self._request)
            if fitting is not self._request:
                self._replace(fitting)
                self._first = self._body
            self._size = size_of(self._request)

    def _replace(self, request: GenerationRequest) -> None:
        self._request = request
        self._size = size_of(request)
        self.protocol = new_protocol()
        self._body = {**self._body, "messages": self.protocol.body(request)["messages"]}
        characters = len(request.system_prompt) + len(request.continues) + sum(map(characters_of, request.messages))
        self.sent = SentContext(messages=len(request.messages), characters=characters, left_out=request.left_out)

    def _change_after(self, failure: UpstreamFailure) -> bool:
        """Change the request after this failure; return whether it may help."""
        if isinstance(failure, ContextTooLong):
            return self.shorten(failure)
        other = None if failure.refusal is None else self.protocol.body_after(self._body, failure.refusal)
        if other is None:
            return False
        self._body = other
        return True

    def _blamed(self, failure: UpstreamFailure) -> UpstreamFailure:
        """Return the failure as a refusal of the user's choice, if it is one. What the operator chose is not the user's."""
        other = failure
        if isinstance(failure, ContextTooLong) and failure.names_max_tokens and failure.named_tokens:
            limit, length = failure.named_tokens
            if length < limit and self._request.sampling.max_tokens is not None:
                other = ValueRefused.of("max_tokens", f"The largest value is {limit - length}.")
        elif (isinstance(failure, ValueRefused) and getattr(self._request.sampling, failure.field) is None) or (
            isinstance(failure, ModelGone) and not self._has_chosen_model
        ):
            other = UpstreamError()
        other.refusal = failure.refusal
        return other

    @property
    def _has_chosen_model(self) -> bool:
        return self.protocol.chooses_model and self._request.model_tag not in ("", "default", settings.INFERENCE_MODEL)

    def _loaded_model(self) -> str:
        """Return the model that answers where requests can't choose one, "" if that is not known."""
        return "" if self.protocol.chooses_model else model_list.shown.loaded_model()

    def _asked_tokens(self) -> int | None:
        return self._body.get("max_tokens") or self._body.get("max_completion_tokens")

    def _log_refusal(self, refusal: Refusal) -> None:
        said = {"upstream_error_code": refusal.error_code, "upstream_error_type": refusal.error_type}
        logger.warning(
            "inference service refused a request",
            extra={
                "message_id": str(self._reply_id),
                "upstream_status": refusal.status,
                **{name: value for name, value in said.items() if value},
            },
        )
