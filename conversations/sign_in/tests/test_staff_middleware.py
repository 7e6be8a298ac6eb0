"""Requests to the API get no session; those to the admin do."""

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from conversations.sign_in import staff_middleware


@pytest.mark.parametrize(
    ("path", "has_session"), [("/api/conversations", False), ("/administer", False), ("/admin/login/", True)]
)
def test_only_staff_have_sessions(path: str, has_session: bool) -> None:
    found = {}

    def view(request: HttpRequest) -> HttpResponse:
        found.update({name: hasattr(request, name) for name in ("session", "user", "_messages")})
        return HttpResponse()

    respond = staff_middleware.MessageMiddleware(view)
    respond = staff_middleware.SessionMiddleware(staff_middleware.AuthenticationMiddleware(respond))
    assert respond(RequestFactory().get(path)).status_code == 200
    assert found == dict.fromkeys(("session", "user", "_messages"), has_session)
