"""What staff see in the admin comes from the replica, except after they have changed something."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
import requests

from tests.replica.standby import Marks, Pair, add_history
from tests.support.database import manage
from tests.support.server import Server

PASSWORD = "a-long-password-for-staff"
LIST, USERS = "/admin/conversations/conversation/", "/admin/conversations/chatuser/"


class Staff:
    """A superuser who is signed in."""

    def __init__(self, service: Server) -> None:
        self._base = f"http://127.0.0.1:{service.port}"
        self._session = requests.Session()
        self.post("/admin/login/?next=/admin/", username="staff", password=PASSWORD)

    def get(self, path: str) -> str:
        answer = self._session.get(self._base + path)
        assert (answer.status_code, answer.url) == (200, self._base + path)
        return answer.text

    def post(self, path: str, **fields: str) -> str:
        self._session.get(self._base + path)
        data = {"csrfmiddlewaretoken": self._session.cookies["csrftoken"], **fields}
        answer = self._session.post(self._base + path, data)
        assert answer.status_code == 200
        return answer.text


@pytest.fixture(scope="module")
def staff(pair: Pair, service: Server) -> Staff:
    code = f"from django.contrib.auth.models import User; User.objects.create_superuser('staff', password='{PASSWORD}')"
    manage(pair.primary.url(), "shell", "-c", code)
    return Staff(service)


@pytest.fixture
def user_id(pair: Pair) -> UUID:
    user_id = uuid4()
    pair.write("INSERT INTO chat_users (id, email, name) VALUES (%s, 'ada@example.com', 'Ada')", user_id)
    return user_id


@pytest.fixture
def conversation(pair: Pair, marks: Marks, user_id: UUID) -> Iterator[UUID]:
    """A conversation that is called `marmalade` on the replica and `quince` on the primary."""
    conversation_id = add_history(pair, user_id, "marmalade")
    marks.expire()
    with pair.replay_stopped():
        pair.write("UPDATE conversations SET title = 'quince', updated_at = now() WHERE id = %s", conversation_id)
        pair.write("UPDATE messages SET content = 'quince' WHERE conversation_id = %s", conversation_id)
        pair.write("UPDATE chat_users SET name = 'Bo' WHERE id = %s", user_id)
        yield conversation_id


def test_the_pages_that_only_read_come_from_the_replica(staff: Staff, conversation: UUID, user_id: UUID) -> None:
    listed = staff.get(LIST)
    assert "marmalade" in listed
    assert "quince" not in listed
    assert "marmalade" in staff.get(f"{LIST}{conversation}/change/")
    assert "Ada" in staff.get(USERS)
    page = staff.get(f"{USERS}{user_id}/change/")
    assert "marmalade" in page
    assert "quince" not in page


def test_who_read_what_is_written_and_read_at_the_primary(staff: Staff, conversation: UUID) -> None:
    staff.get(f"{LIST}{conversation}/change/")
    assert str(conversation) in staff.get("/admin/conversations/staffaccess/")


def test_an_export_comes_from_the_replica(staff: Staff, conversation: UUID) -> None:
    exported = staff.post(LIST, action="export_as_csv", _selected_action=str(conversation))
    assert "marmalade" in exported
    assert "quince" not in exported


def test_history_is_exported_from_a_standby(pair: Pair, conversation: UUID) -> None:
    exported = manage(pair.standby.url(), "export_history", "--all", "-").splitlines()
    own = [line for line in exported if str(conversation) in line]
    assert len(own) == 2
    assert all("marmalade" in line and "quince" not in line for line in own)


def test_the_figures_of_today_come_from_the_replica(pair: Pair, marks: Marks, staff: Staff, user_id: UUID) -> None:
    add_history(pair, user_id, "one more")
    marks.forget("daily-figures")
    marks.expire()
    with pair.replay_stopped(), pair.primary.connect() as connection:
        ((counted,),) = connection.execute("SELECT count(*) FROM messages WHERE role = 'user'").fetchall()
        add_history(pair, user_id, "too late")
        assert f"<b>{counted}</b> messages today" in staff.get("/admin/conversations/conversation/dashboard/")


def test_staff_who_delete_see_that_at_once(staff: Staff, conversation: UUID) -> None:
    staff.post(f"{LIST}{conversation}/delete/", confirmed="yes")
    assert str(conversation) not in staff.get(LIST)
