"""Signing in: limited before a password is hashed, and without holding anything meanwhile."""

from contextlib import ExitStack
from typing import Any

import pytest
from django.contrib.auth.hashers import check_password, make_password
from django.db import connection
from django.test import Client

from chatapi.environment import Rate
from conversations.sign_in import password_hashing
from conversations.staff_site import MOST_SIGN_INS_AT_ONCE, StaffSite

from .factories import make_staff

LOGIN = "/admin/login/"
# So long that no attempt is possible again before a test ends, however slow the machine is.
DAY_S = 86_400


class CountedHashes:
    """Stand in for the server's thread of hashes; `hold` lets them wait."""

    def __init__(self) -> None:
        self.count = 0
        self.held_connections: list[Any] = []

    def __call__(self, function: Any) -> str:
        self.count += 1
        self.held_connections.append(connection.connection)
        return str(function())


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> CountedHashes:
    counted = CountedHashes()
    monkeypatch.setattr(password_hashing, "_run_in_os_thread", counted)
    return counted


def sign_in(username: str = "sue", password: str = "wrong", address: str = "203.0.113.7") -> Any:
    return Client(REMOTE_ADDR=address).post(f"{LOGIN}?next=/admin/", {"username": username, "password": password})


@pytest.fixture(autouse=True)
def three_attempts_a_day(settings: Any) -> None:
    settings.THROTTLE_LOGIN = Rate(3, DAY_S)


@pytest.mark.django_db
def test_the_right_password_gets_in(hashes: CountedHashes) -> None:
    make_staff("sue", "support", password="a long password")
    assert sign_in(password="a long password").status_code == 302
    assert hashes.count > 0


@pytest.mark.django_db
def test_an_address_is_refused_before_anything_is_hashed(hashes: CountedHashes) -> None:
    for number in range(3):
        assert sign_in(f"guess-{number}").status_code == 200
    before = hashes.count
    refused = sign_in("guess-3")
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) > 0
    assert hashes.count == before
    assert sign_in("guess-4", address="198.51.100.1").status_code == 200


@pytest.mark.django_db
def test_an_account_is_limited_from_wherever_it_is_tried(hashes: CountedHashes) -> None:
    make_staff("sue", "support", password="a long password")
    statuses = [sign_in("SUE" if number % 2 else "sue", address=f"203.0.113.{number}").status_code for number in range(5)]
    assert statuses == [200, 200, 200, 429, 429]


@pytest.mark.django_db
def test_every_spelling_of_a_name_counts_for_the_same_account(hashes: CountedHashes) -> None:
    make_staff("alice", "support", password="a long password")
    spellings = ["alice", " alice", "alice\t", "\uff41lice", "ALICE\u3000"]
    statuses = [sign_in(name, address=f"203.0.113.{number}").status_code for number, name in enumerate(spellings)]
    assert statuses == [200, 200, 200, 429, 429]


@pytest.mark.django_db
def test_one_address_does_not_lock_a_colleague_out(hashes: CountedHashes, settings: Any) -> None:
    settings.THROTTLE_LOGIN = Rate(10, DAY_S)
    make_staff("sue", "support", password="a long password")
    guesses = [sign_in("sue").status_code for _ in range(40)]
    assert guesses == [200] * 10 + [429] * 30
    assert [sign_in("sue", address="198.51.100.1").status_code for _ in range(5)] == [200] * 5
    assert sign_in("sue", "a long password", address="198.51.100.1").status_code == 302


@pytest.mark.django_db
@pytest.mark.parametrize("requests", [1, 2, 3])
def test_a_low_limit_keeps_a_place_for_a_colleague(requests: int, hashes: CountedHashes, settings: Any) -> None:
    settings.THROTTLE_LOGIN = Rate(requests, DAY_S)
    make_staff("sue", "support", password="a long password")
    for _ in range(10):
        sign_in("sue")
    assert sign_in("sue", "a long password", address="198.51.100.1").status_code == 302


@pytest.mark.django_db
def test_guesses_from_many_addresses_stay_limited(hashes: CountedHashes, settings: Any) -> None:
    settings.THROTTLE_LOGIN = Rate(10, DAY_S)
    make_staff("sue", "support", password="a long password")
    statuses = [sign_in("sue", address=f"203.0.113.{number}").status_code for number in list(range(50)) * 4]
    assert statuses.count(200) == 10


@pytest.mark.django_db
def test_a_successful_attempt_counts_for_nothing(hashes: CountedHashes) -> None:
    make_staff("sue", "support", password="a long password")
    assert [sign_in("sue", "a long password").status_code for _ in range(8)] == [302] * 8
    assert [sign_in("sue").status_code for _ in range(4)] == [200] * 3 + [429]
    # The limit holds for the right password too.
    assert sign_in("sue", "a long password").status_code == 429


@pytest.mark.django_db
def test_reading_the_form_is_not_an_attempt() -> None:
    assert {Client().get(LOGIN).status_code for _ in range(5)} == {200}


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_a_password_is_hashed(hashes: CountedHashes) -> None:
    make_staff("sue", "support", password="a long password")
    hashes.held_connections.clear()
    sign_in()
    sign_in("unknown")
    assert hashes.held_connections == [None, None]


@pytest.mark.django_db
def test_more_than_a_few_at_once_are_sent_away(hashes: CountedHashes) -> None:
    with ExitStack() as others:
        for _ in range(MOST_SIGN_INS_AT_ONCE):
            others.enter_context(StaffSite.sign_ins.acquire())
        refused = sign_in()
    assert (refused.status_code, hashes.count) == (503, 0)
    assert int(refused["Retry-After"]) > 0


@pytest.mark.django_db
def test_a_failure_is_logged_without_what_was_typed(caplog: pytest.LogCaptureFixture) -> None:
    sign_in("hunter2", "hunter3")
    (record,) = [record for record in caplog.records if record.name == "conversations.staff_site"]
    assert (record.getMessage(), record.address) == ("staff sign-in failed", "203.0.113.7")
    assert "hunter" not in caplog.text


def test_hashes_are_django_s_own() -> None:
    hashed = make_password("a long password")
    assert hashed.startswith("pbkdf2_sha256$")
    assert check_password("a long password", hashed)
    assert not check_password("another", hashed)
