"""Which models users may choose, and which one a turn uses.

Principle: no request goes to a model that users may not choose. Choosing such a model is refused. A conversation that has one
(an old row, or a model that is no longer allowed) continues with its assistant's model or the default. Staff may choose any
model for an assistant. `inference_proxy.upstream.model_list` says what is allowed.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.conf import settings

from conversations.exceptions import ModelNotAllowed
from conversations.models import DEFAULT_MODEL_TAG
from inference_proxy.upstream.model_list import ModelListNeeded, is_allowed, model_list

P = ParamSpec("P")
R = TypeVar("R")


def with_model_list(begin: Callable[P, R]) -> Callable[P, R]:
    """Run a function. If it raises `ModelListNeeded`, read the list of models and run it again.

    So the list is read outside of the function's transaction, and only for conversations that need it.
    """

    @wraps(begin)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        while True:
            try:
                return begin(*args, **kwargs)
            except ModelListNeeded:
                model_list.read()

    return run


def known_models() -> frozenset[str]:
    """Return the models that users may choose, as far as this process knows them; empty if it does not. Calls nothing."""
    return frozenset(settings.ALLOWED_MODELS) or model_list.remembered()


@with_model_list
def may_choose(model_tag: str) -> bool:
    """Return whether a user may choose a model. Do not call in a transaction: it may call the inference service."""
    return is_allowed(model_tag, where_unknown=False)


def require_allowed(model_tag: str | None) -> None:
    """Raise `ModelNotAllowed` for a model that users may not choose."""
    if model_tag and not may_choose(model_tag):
        raise ModelNotAllowed


def model_of_turn(own_tag: str | None, assistant_tag: str | None) -> str:
    """Return the model for a turn: the conversation's own, or its assistant's if that is the default or not allowed.

    If the list of models could never be read, use the conversation's own. Raises `ModelListNeeded`.
    """
    if own_tag and own_tag != DEFAULT_MODEL_TAG and is_allowed(own_tag, where_unknown=True):
        return own_tag
    return assistant_tag or DEFAULT_MODEL_TAG
