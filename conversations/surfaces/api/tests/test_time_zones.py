"""`?tz=` of GET /api/conversations and GET /api/usage: both group by the days of a time zone and know the same zones."""

from datetime import UTC, datetime, timedelta

import pytest

from chatapi.tests.clients import UserClient
from conversations.services.history.usage_recount import count_usage
from conversations.tests.factories import make_conversation, make_message

ADDRESSES = ["/api/conversations", "/api/usage"]
NOT_THE_SAME_EVERYWHERE = ("localtime", "Factory", "posixrules", "posix/Europe/Berlin", "right/UTC", "/etc/localtime")
NO_ZONES = (" UTC", "Europe", "Europe/", "../UTC", "europe/berlin", "UTC+1", "<+05>-5", "EST5EDT4,M3", "Mars/Olympus")
NO_ZONES += ("x" * 5000, "\x00", "é", "zone.tab")


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("name", [*NOT_THE_SAME_EVERYWHERE, *NO_ZONES])
def test_a_name_that_is_no_zone_everywhere_is_refused(user: UserClient, address: str, name: str) -> None:
    make_message(make_conversation(user.user_id))
    answer = user.get(address, {"tz": name, "to": "2026-11-20", "days": 2})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert list(answer.json()["fields"]) == ["tz"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_all_kinds_of_zones_are_known_to_all_endpoints(user: UserClient, address: str) -> None:
    make_message(make_conversation(user.user_id))
    for name in ("Asia/Kolkata", "America/Argentina/Buenos_Aires", "Etc/GMT+12", "EST5EDT", "Pacific/Kiritimati", "UTC"):
        assert user.get(address, {"tz": name, "to": "2026-11-20", "days": 2}).status_code == 200, name


@pytest.mark.parametrize(
    ("zone", "time", "day"),
    [
        # Its clocks go from 23:59 to 01:00: this day has no midnight.
        ("Asia/Beirut", datetime(2026, 3, 28, 22, 0, tzinfo=UTC), "2026-03-29"),
        ("Asia/Beirut", datetime(2026, 3, 28, 21, 59, tzinfo=UTC), "2026-03-28"),
        # Its clocks go from 00:59 to 00:00: this day has two.
        ("America/Havana", datetime(2026, 11, 1, 4, 0, tzinfo=UTC), "2026-11-01"),
        ("America/Havana", datetime(2026, 11, 1, 3, 59, tzinfo=UTC), "2026-10-31"),
        ("Asia/Kathmandu", datetime(2026, 11, 20, 18, 15, tzinfo=UTC), "2026-11-21"),
        ("Asia/Kathmandu", datetime(2026, 11, 20, 18, 14, tzinfo=UTC), "2026-11-20"),
        # Samoa left out a whole day.
        ("Pacific/Apia", datetime(2011, 12, 30, 9, 59, tzinfo=UTC), "2011-12-29"),
        ("Pacific/Apia", datetime(2011, 12, 30, 10, 0, tzinfo=UTC), "2011-12-31"),
    ],
)
def test_usage_and_lists_agree_about_the_day(user: UserClient, zone: str, time: datetime, day: str) -> None:
    conversation = make_conversation(user.user_id, created_at=time, updated_at=time)
    make_message(conversation, created_at=time)
    count_usage()
    assert list(user.get(f"/api/conversations?tz={zone}").json()["grouped"]) == [day]
    days = user.get("/api/usage", {"to": (time + timedelta(days=3)).date(), "days": 7, "tz": zone}).json()["days"]
    assert [one["date"] for one in days if one["messages"]] == [day]
