"""Pages of the admin that may read from a replica.

Sessions and permissions come from the primary, and so does everything that a POST reads. After a POST, the member of staff
reads from the primary for a while (see `chatapi.database.recent_writes`).
"""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from conversations.services.replica_reads import read_for_staff

T = TypeVar("T")
View = Callable[..., HttpResponse]


def read_for(request: HttpRequest, function: Callable[[], T]) -> T:
    """Call a function that only reads, for the signed-in staff user. It may be called twice."""
    staff: Any = request.user
    return read_for_staff(staff.pk, function)


def from_replica(view: View) -> View:
    """Let a page that only reads use the replica. It may be made twice."""

    @wraps(view)
    def read(model_admin: Any, request: HttpRequest, *arguments: Any, **options: Any) -> HttpResponse:
        page = partial(view, model_admin, request, *arguments, **options)
        if settings.DATABASE_REPLICA is None or request.method != "GET":
            return page()
        staff: Any = request.user
        if not staff.is_superuser:
            # Django remembers them for the rest of the request.
            staff.get_all_permissions()
        return read_for(request, lambda: _rendered(page()))

    return read


def _rendered(response: HttpResponse) -> HttpResponse:
    """Make the page here, because a template may run the query of a list."""
    return response.render() if isinstance(response, TemplateResponse) else response
