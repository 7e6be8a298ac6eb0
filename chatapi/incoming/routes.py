"""What the platform must know of a route before its view runs. Surfaces declare it where they list their paths.

A module of paths uses `route` in the place of Django's `path` where a request of the route begins a reply, probes the service,
or may bring a whole history. It defines `shape_response` if all responses below its prefix have a form of their own, also those
that no view makes: an unknown path, a refused body, a rate limit.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, get_resolver, path

ShapeResponse = Callable[[HttpResponseBase], None]


class Route(URLPattern):
    """A path, its view, and what is declared of it."""

    # The method that begins a reply.
    begins_reply = ""
    is_probe = False
    may_bring_history = False


def route(
    written: str,
    view: Callable[..., Any],
    *,
    begins_reply: str = "",
    is_probe: bool = False,
    may_bring_history: bool = False,
) -> Route:
    """Return the route of a view, as `django.urls.path` does.

    Requests with the method `begins_reply` wait in the queue of sends (see `admission`). Probes wait in no queue, and are
    answered under any host name. The body of a request that may bring a history may be large (see `request_bodies`).
    """
    plain = path(written, view)
    made = Route(plain.pattern, plain.callback, plain.default_args, plain.name)
    made.begins_reply, made.is_probe, made.may_bring_history = begins_reply, is_probe, may_bring_history
    return made


@dataclass(frozen=True, slots=True)
class _Declared:
    """What all routes declare, so that one look at a path is enough."""

    probes: frozenset[str]
    with_history: frozenset[str]
    # By method, the form of the paths where it begins a reply.
    begins_reply: dict[str, re.Pattern[str]]
    # The longest prefixes first.
    shapes: list[tuple[str, ShapeResponse]]


def is_probe(path_info: str) -> bool:
    return path_info.rstrip("/") in _declared(settings.ROOT_URLCONF).probes


def may_bring_history(path_info: str) -> bool:
    return path_info.rstrip("/") in _declared(settings.ROOT_URLCONF).with_history


def begins_reply(method: str, path_info: str) -> bool:
    form = _declared(settings.ROOT_URLCONF).begins_reply.get(method)
    return form is not None and form.fullmatch(path_info) is not None


def paths_with_history() -> frozenset[str]:
    """Return the paths whose bodies may be large."""
    return _declared(settings.ROOT_URLCONF).with_history


def shape_of(path_info: str) -> ShapeResponse | None:
    """Return what gives the responses at this path their form, or None."""
    return next((shape for prefix, shape in _declared(settings.ROOT_URLCONF).shapes if path_info.startswith(prefix)), None)


@cache
def _declared(urlconf: str) -> _Declared:
    shapes: list[tuple[str, ShapeResponse]] = []
    routes = list(_read_routes(get_resolver(urlconf).url_patterns, "/", shapes))
    methods = {each.begins_reply for _, each in routes} - {""}
    return _Declared(
        probes=frozenset(path for path, each in routes if each.is_probe),
        with_history=frozenset(path for path, each in routes if each.may_bring_history),
        begins_reply={
            method: _form_of([path for path, each in routes if each.begins_reply == method]) for method in sorted(methods)
        },
        shapes=sorted(shapes, key=lambda shape: -len(shape[0])),
    )


def _read_routes(
    patterns: Sequence[URLPattern | URLResolver], prefix: str, shapes: list[tuple[str, ShapeResponse]]
) -> Iterator[tuple[str, Route]]:
    """Return the declared routes with their paths, and add the shapes of responses."""
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if shape := getattr(pattern.urlconf_module, "shape_response", None):
                shapes.append((path, shape))
            yield from _read_routes(pattern.url_patterns, path, shapes)
        elif isinstance(pattern, Route):
            yield path, pattern


def _form_of(paths: list[str]) -> re.Pattern[str]:
    """Return the form of these paths, with or without a slash at the end. Parts such as `<str:id>` match any text."""
    forms = ("[^/]+".join(map(re.escape, re.split(r"<[^>]+>", path))) for path in paths)
    return re.compile(f"(?:{'|'.join(forms)})/?")
