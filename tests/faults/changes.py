"""Changing the service in a running server: each change fails where what it changes is not there any more."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """A new value for a name of a module or a class."""

    owner: Any
    name: str
    value: Any

    def make(self) -> None:
        setattr(self.owner, self.name, self.value)


def around(owner: Any, name: str, replacement: Callable[..., Any]) -> Change:
    """Replace a function or a method by one that is handed the original before its arguments."""
    original = getattr(owner, name)
    expected = list(inspect.signature(original).parameters.values())
    taken = list(inspect.signature(replacement).parameters.values())[1:]
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in taken)
    if not takes_any and len(taken) != len(expected):
        raise TypeError(f"{name} takes {len(expected)} arguments now: {expected}")

    @functools.wraps(original)
    def changed(*arguments: Any, **named: Any) -> Any:
        return replacement(original, *arguments, **named)

    return Change(owner, name, changed)


def edited(owner: Any, name: str, old: str, new: str) -> Change:
    """Replace a part of a text, an SQL statement for example, that occurs in it once."""
    text = getattr(owner, name)
    if text.count(old) != 1:
        raise ValueError(f"{name} has {old!r} {text.count(old)} times, not once")
    return Change(owner, name, text.replace(old, new))


def set_to(owner: Any, name: str, value: Any) -> Change:
    """Replace a value by another."""
    if getattr(owner, name) == value:
        raise ValueError(f"{name} is {value!r} already")
    return Change(owner, name, value)
