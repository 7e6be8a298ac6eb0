"""Refused requests are counted per user and day: in memory first, then in the database."""

from datetime import date, timedelta
from uuid import UUID, uuid4

import pytest

from chatapi.environment import Rate
from conversations.models import RefusedRequests
from conversations.services.history.erase import erase_user
from conversations.services.usage import refusal_counts
from conversations.services.usage.refusal_counts import note_refused, take_refused
from conversations.services.usage.refused_requests import forget_refused, read_refused, write_refused

DAY = date(2026, 11, 30)
MIRA = UUID(int=1)


@pytest.fixture(autouse=True)
def _nothing_counted():
    take_refused()
    yield
    take_refused()


def test_counts_are_taken_once() -> None:
    for status in (429, 404, 429, 400):
        note_refused(str(MIRA), status)
    assert take_refused() == [(str(MIRA), 2, 2)]
    assert take_refused() == []


@pytest.mark.parametrize("who", ["", "staff-7"])
def test_requests_of_nobody_and_of_staff_are_not_counted(who: str) -> None:
    note_refused(who, 429)
    assert take_refused() == []


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusal_counts, "MOST_USERS", 3)
    for number in range(10):
        note_refused(str(UUID(int=number)), 429)
    note_refused(str(UUID(int=0)), 429)
    assert len(taken := take_refused()) == 3
    assert taken[0] == (str(UUID(int=0)), 2, 0)


@pytest.mark.django_db
def test_counts_add_up_in_the_database() -> None:
    for _ in range(2):
        note_refused(str(MIRA), 429)
        note_refused(str(uuid4()), 403)
        assert write_refused(DAY) == 2
    assert write_refused(DAY) == 0
    note_refused(str(MIRA), 404)
    write_refused(DAY + timedelta(days=1))
    found = read_refused(user_id=MIRA, first=DAY - timedelta(days=1), last=DAY + timedelta(days=1))
    assert found == [(DAY - timedelta(days=1), 0, 0), (DAY, 2, 0), (DAY + timedelta(days=1), 0, 1)]


@pytest.mark.django_db
def test_what_can_not_be_written_is_counted_later(monkeypatch: pytest.MonkeyPatch) -> None:
    note_refused(str(MIRA), 429)
    with monkeypatch.context() as broken:
        broken.setattr("conversations.services.usage.refused_requests.WRITE_SQL", "SELECT %(day)s")
        broken.setattr("conversations.services.usage.refused_requests.own_cursor", None)
        with pytest.raises(TypeError):
            write_refused(DAY)
    note_refused(str(MIRA), 429)
    assert take_refused() == [(str(MIRA), 2, 0)]


@pytest.mark.django_db
def test_old_days_are_forgotten() -> None:
    for back in range(5):
        RefusedRequests.objects.create(user_id=MIRA, day=DAY - timedelta(days=back), limited=1)
    assert forget_refused(DAY - timedelta(days=2)) == 2
    assert RefusedRequests.objects.count() == 3


@pytest.mark.django_db
def test_erasing_a_user_erases_them() -> None:
    RefusedRequests.objects.create(user_id=MIRA, day=DAY, limited=1)
    erase_user(user_id=MIRA)
    assert not RefusedRequests.objects.exists()


@pytest.mark.django_db
def test_requests_over_a_limit_and_others_are_counted(new_user, settings) -> None:
    settings.THROTTLE_READ = Rate(2, 86_400)
    user = new_user()
    statuses = [user.get("/api/conversations").status_code, user.get(f"/api/conversations/{uuid4()}").status_code]
    statuses += [user.get("/api/conversations").status_code for _ in range(3)]
    assert statuses == [200, 404, 429, 429, 429]
    assert take_refused() == [(str(user.user_id), 3, 1)]
