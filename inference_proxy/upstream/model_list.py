"""Which models users may choose: by ALLOWED_MODELS, or by the list that the inference service gives of itself.

For these decisions the list is remembered for a minute, in each process. It is read where a model that is not the default is
chosen, or is about to be used, and never otherwise. If it can't be read, the last one counts. Clients that want to see the list
get one that is at most five seconds old.
"""

import threading
import time
from typing import Any

from django.conf import settings

from chatapi.database.connections import release_connections
from inference_proxy.exceptions import UpstreamFailure
from inference_proxy.protocols import new_protocol
from inference_proxy.upstream.catalogue import read_models, swap_model

REMEMBERED_S = 60.0
# Seconds after a failure in which the service is not asked again, so that no request waits for another failure.
PAUSE_S = 10.0
READ_DEADLINE_S = 2.0
# What clients are shown, and a failure that they would meet. They all share one call.
SHOWN_S = 5.0
FAILED_S = 2.0


class ModelListNeeded(Exception):
    """Only the inference service's list can tell, and it is not at hand: read it, holding no connection, and ask again."""


class ShownList:
    """The inference service's own list, as clients see it. However many read it at once, the service is asked once."""

    def __init__(self) -> None:
        self._reading = threading.Lock()
        self._answer: dict[str, Any] | None = None
        self._failure: type[UpstreamFailure] | None = None
        self._retry_after_s: int | None = None
        self._read_at = float("-inf")

    def read(self) -> dict[str, Any]:
        """Return what `read_models` does. Raises `UpstreamFailure`, which is remembered for a short time too."""
        if (answer := self._remembered()) is not None:
            return answer
        # Others need the connection while this request waits.
        release_connections()
        with self._reading:
            if (answer := self._remembered()) is not None:
                return answer
            self._answer = self._failure = None
            try:
                self._answer = answer = read_models()
            except UpstreamFailure as failure:
                self._failure, self._retry_after_s = type(failure), failure.retry_after_s
                raise
            finally:
                self._read_at = time.monotonic()
            return answer

    def _remembered(self) -> dict[str, Any] | None:
        age_s = time.monotonic() - self._read_at
        if (failure := self._failure) is not None and age_s < FAILED_S:
            raise failure(retry_after_s=self._retry_after_s)
        return self._answer if age_s < SHOWN_S else None

    def loaded_model(self) -> str:
        """Return the model that the service had loaded when it was last asked, "" if that was long ago."""
        answer, is_recent = self._answer, time.monotonic() - self._read_at < REMEMBERED_S
        loaded = answer.get("current_model") if answer is not None and is_recent else None
        return loaded if isinstance(loaded, str) else ""

    def clear(self) -> None:
        self._answer = self._failure = None


class ModelList:
    """What the inference service last said that it has."""

    def __init__(self) -> None:
        self._reading = threading.Lock()
        self._names: frozenset[str] | None = None
        self._read_again_at = 0.0
        self.shown = ShownList()

    def names(self) -> frozenset[str] | None:
        """The names, None if they could never be read. Raises `ModelListNeeded` if they are too old."""
        is_being_read = self._reading.locked() and self._names is not None
        if time.monotonic() >= self._read_again_at and not is_being_read:
            raise ModelListNeeded
        return self._names

    def remembered(self) -> frozenset[str]:
        """The names that were last read, however old. Empty if there are none."""
        return self._names or frozenset()

    def read(self) -> None:
        """Read the list where it is too old. One thread does; those that have an old one go on with it."""
        if not self._reading.acquire(blocking=self._names is None):
            return
        try:
            if time.monotonic() < self._read_again_at:
                return
            try:
                names = frozenset(model["model_tag"] for model in read_models(READ_DEADLINE_S)["models"])
            except UpstreamFailure:
                names = frozenset()
            # A service that lists nothing has not said what may be chosen.
            self._names = names or self._names
            self._read_again_at = time.monotonic() + (REMEMBERED_S if names else PAUSE_S)
        finally:
            self._reading.release()

    def clear(self) -> None:
        self._names, self._read_again_at = None, 0.0
        self.shown.clear()


model_list = ModelList()


def swap_loaded_model(model_tag: str) -> dict[str, Any]:
    """Do what `swap_model` does, and forget what was loaded before."""
    try:
        return swap_model(model_tag)
    finally:
        model_list.shown.clear()


def list_allowed_models() -> dict[str, Any]:
    """Return what `read_models` does, with only the models that users may choose. Raises `UpstreamFailure`."""
    answer = model_list.shown.read()
    if not settings.ALLOWED_MODELS:
        return answer
    return {**answer, "models": [model for model in answer["models"] if model["model_tag"] in settings.ALLOWED_MODELS]}


def is_allowed(model_tag: str, *, where_unknown: bool) -> bool:
    """Tell whether users may choose a model. `where_unknown` is the answer if the list could never be read.

    Calls nothing. Raises `ModelListNeeded`.
    """
    if model_tag in ("", "default", settings.INFERENCE_MODEL):
        return True
    if settings.ALLOWED_MODELS:
        return model_tag in settings.ALLOWED_MODELS
    if not new_protocol().chooses_model:
        return True
    names = model_list.names()
    return where_unknown if names is None else model_tag in names
