"""Which models conversations may name, and which one a turn uses.

Principle: a model that users may not choose is never asked for. It is refused where it is chosen; a conversation that has one
all the same (an old row, a model that was withdrawn since) goes on with the default model. What staff chose for an assistant
is theirs to choose. `inference_proxy.model_list` says what is allowed.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from conversations.exceptions import ModelNotAllowed
from conversations.models import DEFAULT_MODEL_TAG
from inference_proxy.model_list import ModelListNeeded, is_allowed, model_list

P = ParamSpec("P")
R = TypeVar("R")


def with_model_list(verb: Callable[P, R]) -> Callable[P, R]:
    """Run a verb, and where it turns out to need the list of models, read that and run it again.

    So the list is read outside of the verb's transaction, and only for conversations that need it.
    """

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        while True:
            try:
                return verb(*args, **kwargs)
            except ModelListNeeded:
                model_list.read()

    return run


@with_model_list
def may_choose(model_tag: str) -> bool:
    """Tell whether a user may choose a model. May call the inference service, so not to be called in a transaction."""
    return is_allowed(model_tag, where_unknown=False)


def require_allowed(model_tag: str | None) -> None:
    """Refuse a model that users may not choose. Raises `ModelNotAllowed`."""
    if model_tag and not may_choose(model_tag):
        raise ModelNotAllowed


def model_of_turn(own_tag: str | None, assistant_tag: str | None) -> str:
    """Return the model for a turn: the conversation's own unless that is the default or not allowed, then its assistant's.

    Where the service has never given a list, the conversation's own is used. Raises `ModelListNeeded`.
    """
    if own_tag and own_tag != DEFAULT_MODEL_TAG and is_allowed(own_tag, where_unknown=True):
        return own_tag
    return assistant_tag or DEFAULT_MODEL_TAG
