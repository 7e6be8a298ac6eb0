"""What a deployment is protected by: cookies, policies, and a secret that is one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.test import Client, RequestFactory

from chatapi.incoming.content_security import ContentSecurityMiddleware
from conversations.surfaces.try_page import try_page

PROJECT = Path(__file__).resolve().parents[2]
SHOW = """
import django, json
django.setup()
from django.conf import settings
from django.urls import resolve, Resolver404
try:
    has_admin = bool(resolve("/admin/login/"))
except Resolver404:
    has_admin = False
print(json.dumps([settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE, settings.SECURE_HSTS_SECONDS > 0, has_admin]))
"""


def settings_with(**variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "chatapi.settings",
        "SECRET_KEY": "x" * 32,
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-c", SHOW], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({}, [True, True, True, True]),
        ({"INSECURE_COOKIES": "true"}, [False, False, False, True]),
        ({"DEBUG": "true", "SECRET_KEY": "short"}, [False, False, False, True]),
        ({"ADMIN_ENABLED": "false"}, [True, True, True, False]),
    ],
)
def test_cookies_need_tls_unless_the_operator_says_otherwise(variables: dict[str, str], shown: list[bool]) -> None:
    assert json.loads(settings_with(**variables).stdout) == shown


def test_a_short_secret_stops_the_start() -> None:
    result = settings_with(SECRET_KEY="x" * 31)
    assert result.returncode != 0
    assert result.stderr.strip().splitlines()[-1].endswith("SECRET_KEY must have at least 32 characters")
    assert "x" * 31 not in result.stderr


def test_staff_sessions_end_after_half_a_day() -> None:
    assert settings.SESSION_COOKIE_AGE == 12 * 3600


@pytest.mark.parametrize("password", ["12345678", "password1", "short"])
def test_weak_passwords_are_refused(password: str) -> None:
    with pytest.raises(ValidationError):
        validate_password(password)


ADMIN = "/admin/conversations"
PAGES = [
    "/api/docs",
    "/admin/login/",
    "/admin/",
    "/admin/password_change/",
    "/admin/auth/user/add/",
    f"{ADMIN}/assistant/add/",
    f"{ADMIN}/chatuser/",
    f"{ADMIN}/conversation/",
    f"{ADMIN}/conversation/dashboard/",
    f"{ADMIN}/staffaccess/",
    f"{ADMIN}/userquota/add/",
]


@pytest.mark.django_db
@pytest.mark.parametrize("address", PAGES)
def test_pages_carry_a_policy_and_no_inline_code(admin_client: Client, address: str) -> None:
    client = Client() if "login" in address else admin_client
    page: Any = client.get(address)
    assert_page_is_guarded(page)


def test_the_try_page_does_as_well() -> None:
    # The tests' settings do not serve it.
    assert_page_is_guarded(ContentSecurityMiddleware(try_page)(RequestFactory().get("/")))


def assert_page_is_guarded(page: Any) -> None:
    assert page["Content-Type"].startswith("text/html"), page
    assert "default-src 'self'" in page["Content-Security-Policy"]
    assert "unsafe" not in page["Content-Security-Policy"]
    html = page.content.decode()
    assert "<style" not in html
    assert all("src=" in tag.partition(">")[0] for tag in html.split("<script")[1:])


def test_answers_of_the_api_carry_no_policy() -> None:
    assert "Content-Security-Policy" not in Client().get("/api/health")


@pytest.mark.django_db
def test_the_docs_page_keeps_no_token() -> None:
    script = Client().get("/api/docs", {"script": ""}).content.decode()
    assert '"persistAuthorization": false' in script
