"""What `make run` prints when all parts are ready."""

from pathlib import Path

from devstack.welcome import Welcome


def welcome(token: str | None, url: str = "http://127.0.0.1:8002") -> str:
    return Welcome(url, token, True, "a model", Path("service.log"), "python").text()


def test_a_link_opens_the_page_already_logged_in() -> None:
    assert "\nhttp://localhost:8002/#token=a.b.c\n" in welcome("a.b.c")


def test_with_another_auth_service_the_link_has_no_token() -> None:
    assert "\nhttp://localhost:8002/\n" in welcome(None)
    assert "\nhttp://10.1.2.3:8002/\n" in welcome(None, "http://10.1.2.3:8002")
