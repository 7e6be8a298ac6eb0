"""Deliveries to a real receiver: one that takes them, fails, hangs, redirects, is gone, or must not be called."""

import base64
import hashlib
import hmac
import json
import random
import runpy
import shutil
import subprocess
import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
import responses
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from conversations.models import WebhookEvent
from conversations.services.webhooks import delivery, outbox
from conversations.services.webhooks.delivery import wait_before
from conversations.services.webhooks.keeper import deliver_due
from conversations.services.webhooks.outbox import Outbox
from conversations.services.webhooks.public_addresses import is_public
from conversations.services.webhooks.signatures import signature_headers
from conversations.tests.factories import make_conversation, make_message
from conversations.tests.webhooks.conftest import SECRET
from devstack.folder import PROJECT
from tests.clients.node import why_node_is_missing
from tests.support.receiver import Receiver, status

pytestmark = pytest.mark.django_db
WHO = str(uuid.UUID(int=7))


def note(kind: str = "user.erased", **values: Any) -> WebhookEvent:
    return WebhookEvent.objects.create(kind=kind, data={"user_id": WHO}, **values)


def reload(event: WebhookEvent) -> WebhookEvent:
    event.refresh_from_db()
    return event


def waits(event: WebhookEvent) -> float:
    """Return in how many seconds it is tried again."""
    due_at = reload(event).due_at
    assert due_at is not None
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        return float((due_at - cursor.fetchone()[0]).total_seconds())


def test_an_event_is_signed_delivered_and_forgotten(receiver: Receiver) -> None:
    event = note()
    assert deliver_due(Outbox()).delivered == 1
    [request] = receiver.received
    assert request.path == "/hook?key=1" and request.headers["content-type"] == "application/json"
    assert request.id == str(event.id)
    assert request.event["type"] == "user.erased" and request.event["data"] == {"user_id": WHO}
    assert request.event["timestamp"].endswith("Z")
    signed = f"{request.id}.{request.headers['webhook-timestamp']}.".encode() + request.body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"
    assert not WebhookEvent.objects.exists()
    assert deliver_due(Outbox()).all == 0


def test_while_the_secret_changes_both_sign(receiver: Receiver, settings: Any) -> None:
    settings.WEBHOOK_SECRETS = ["whsec_" + base64.b64encode(bytes(32)).decode(), SECRET]
    note()
    deliver_due(Outbox())
    signatures = receiver.received[0].headers["webhook-signature"].split()
    assert len(signatures) == 2 and len(set(signatures)) == 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(500, body=b"a secret of theirs"), "status 500"),
        (status(404), "status 404"),
        (status(302, "Location: http://127.0.0.1:1/elsewhere"), "status 302"),
        (lambda _: None, "not reached"),
        (lambda _: b"no HTTP\r\n\r\n", "not reached"),
    ],
    ids=["500", "404", "redirect", "closed", "garbage"],
)
def test_what_is_not_taken_is_tried_again(receiver: Receiver, answer: Any, reason: str) -> None:
    receiver.answer = answer
    event = note()
    assert deliver_due(Outbox()).failed == 1
    assert reload(event).last_failure == reason and event.attempts == 1
    assert 3 <= waits(event) <= 7
    # Not yet due.
    assert deliver_due(Outbox()).all == 0 and len(receiver.received) == 1
    receiver.answer = status(200)
    WebhookEvent.objects.update(due_at=timezone.now() - timedelta(hours=1))
    assert deliver_due(Outbox()).delivered == 1
    assert len({request.id for request in receiver.received}) == 1


def test_a_receiver_that_hangs_is_left_in_time(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(_: Any) -> None:
        release.wait(30)

    receiver.answer = hang
    monkeypatch.setattr(delivery, "DEADLINE_S", 0.3)
    event = note()
    assert deliver_due(Outbox()).failed == 1
    release.set()
    assert reload(event).last_failure == "no answer in time"


def test_retry_after_is_honoured(receiver: Receiver) -> None:
    receiver.answer = status(503, "Retry-After: 7200")
    event = note()
    deliver_due(Outbox())
    assert 7100 < waits(event) <= 7200


def test_retry_after_puts_off_by_a_day_at_most(receiver: Receiver) -> None:
    receiver.answer = status(503, "Retry-After: 9999999")
    event = note()
    deliver_due(Outbox())
    assert waits(event) <= 24 * 3600


def test_a_receiver_that_wants_it_no_more_is_not_asked_again(receiver: Receiver) -> None:
    receiver.answer = status(410)
    event = note()
    assert deliver_due(Outbox()).dead == 1
    assert reload(event).due_at is None and event.last_failure == "status 410"


def test_it_is_given_up_after_the_last_attempt_and_may_get_another(receiver: Receiver, settings: Any) -> None:
    settings.WEBHOOK_ATTEMPTS = 2
    receiver.answer = status(500)
    event = note(attempts=1)
    assert deliver_due(Outbox()).dead == 1
    assert reload(event).due_at is None
    receiver.answer = status(204)
    assert outbox.try_again([event.id]) == 1
    assert deliver_due(Outbox()).delivered == 1


def test_the_waits_grow_differ_and_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)
    assert [round(wait_before(attempt, 0)) for attempt in (1, 2, 3, 4, 12, 100)] == [5, 20, 80, 320, 43200, 43200]
    monkeypatch.undo()
    assert len({wait_before(3, 0) for _ in range(20)}) > 10


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1"])
def test_without_leave_no_private_address_is_called(
    receiver: Receiver, settings: Any, outbound: responses.RequestsMock, host: str
) -> None:
    outbound.add_passthru(f"http://{host}")
    settings.WEBHOOK_ALLOW_PRIVATE = False
    settings.WEBHOOK_URL = receiver.url.replace("127.0.0.1", host)
    event = note()
    assert deliver_due(Outbox()).failed == 1
    assert receiver.received == []
    assert reload(event).last_failure == "its address is not public"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("64:ff9b::808:808", True),
        # Through 6to4 and Teredo, to 8.8.8.8.
        ("2002:808:808::", True),
        ("2001:0:4136:e378:8000:63bf:f7f7:f7f7", True),
        ("2606:4700:4700::1111%1", False),
        ("fec0::1", False),
        ("4000::1", False),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fe80::1%1", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:224.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b:1::1", False),
        ("2002:7f00:1::", False),
        ("not an address", False),
    ],
)
def test_which_addresses_are_public(address: str, expected: bool) -> None:
    assert is_public(address) is expected


@pytest.mark.parametrize("is_included", [False, True])
def test_the_text_goes_along_only_if_the_operator_asks(receiver: Receiver, settings: Any, *, is_included: bool) -> None:
    settings.WEBHOOK_INCLUDE_TEXT = is_included
    message = make_message(make_conversation(), "the text")
    for message_id in (message.id, uuid.uuid4()):
        WebhookEvent.objects.create(kind="reply.ended", data={"message_id": str(message_id)})
    deliver_due(Outbox())
    told = {request.event["data"]["message_id"]: request.event["data"] for request in receiver.received}
    assert told[str(message.id)].get("text") == ("the text" if is_included else None)
    assert ["text" in data for data in told.values()] == [is_included] * 2


def test_old_events_are_dropped() -> None:
    now = timezone.now()
    note(created_at=now - timedelta(days=8), due_at=None)
    kept = note(created_at=now - timedelta(days=6))
    assert Outbox().keep() == 1
    assert [event.id for event in WebhookEvent.objects.all()] == [kept.id]


def test_of_too_many_the_oldest_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now()
    _, newer, newest = (note(created_at=now - timedelta(hours=age)) for age in (3, 2, 1))
    monkeypatch.setattr(outbox, "MOST_KEPT", 2)
    assert Outbox().keep() == 1
    assert set(WebhookEvent.objects.values_list("id", flat=True)) == {newer.id, newest.id}


def test_a_late_failure_does_not_put_off_what_another_process_has_claimed() -> None:
    event = note()
    [first] = Outbox().claim(1)
    WebhookEvent.objects.update(due_at=timezone.now() - timedelta(hours=1))
    [second] = Outbox().claim(1)
    assert (first.id, first.attempts, second.attempts) == (event.id, 1, 2)
    before = reload(event).due_at
    Outbox().settle([], [outbox.Failure(first, "late", None)])
    assert reload(event).due_at == before


# --- The command ------------------------------------------------------------------------------------------------------------


def test_the_command_delivers_all_that_is_due(receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(40):
        note()
    with pytest.raises(SystemExit) as ended:
        call_command("deliver_webhooks", "--json")
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out) == {"delivered": 40, "failed": 0, "dead": 0, "waiting": 0, "given_up": 0}
    assert len({request.id for request in receiver.received}) == 40


def test_the_command_says_that_some_failed_and_tries_the_dead_again(
    receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.answer = status(500)
    note(due_at=None, attempts=12)
    with pytest.raises(SystemExit) as ended:
        call_command("deliver_webhooks", "--retry-dead")
    assert ended.value.code == 4
    assert "Delivered 0, failed 1, gave up 0; 1 wait" in capsys.readouterr().out


def test_the_command_needs_a_receiver_and_discards_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    note()
    with pytest.raises(CommandError, match="WEBHOOK_URL") as refused:
        call_command("deliver_webhooks")
    assert refused.value.returncode == 2
    call_command("deliver_webhooks", "--discard", "--yes")
    assert "Discarded 1 events" in capsys.readouterr().out
    assert not WebhookEvent.objects.exists()


# --- The examples -----------------------------------------------------------------------------------------------------------


def signed_now(body: bytes, timestamp: int | None = None) -> dict[str, str]:
    now = int(timezone.now().timestamp())
    return dict(signature_headers("an-id", now if timestamp is None else timestamp, body, [SECRET]))


BODY = json.dumps({"type": "reply.ended", "timestamp": "2026-11-30T12:00:00Z", "data": {"é": 1}}).encode()


def test_the_python_example_verifies() -> None:
    verify = runpy.run_path(str(PROJECT / "examples" / "webhooks.py"))["verify"]
    assert verify(SECRET, signed_now(BODY), BODY) == {"id": "an-id", **json.loads(BODY)}
    with pytest.raises(ValueError, match="signature"):
        verify(SECRET, signed_now(BODY), BODY + b" ")
    with pytest.raises(ValueError, match="old"):
        verify(SECRET, signed_now(BODY, timestamp=1_000_000_000), BODY)


@pytest.mark.skipif(bool(why_node_is_missing() or not shutil.which("node")), reason="node is not installed")
def test_the_node_example_verifies() -> None:
    cases = [(signed_now(BODY), BODY), (signed_now(BODY), BODY + b" "), (signed_now(BODY, timestamp=1_000_000_000), BODY)]
    script = (
        f"import {{ verify }} from {json.dumps(str(PROJECT / 'examples' / 'webhooks.js'))};"
        "const [secret, cases] = JSON.parse(process.argv[1]);"
        "for (const [headers, body] of cases) {"
        " try { console.log(verify(secret, headers, Buffer.from(body)).id); } catch (problem) { console.log(problem.message); }"
        "}"
    )
    told = json.dumps([SECRET, [(headers, body.decode()) for headers, body in cases]])
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script, told], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split("\n")[:3] == ["an-id", "wrong signature", "too old"]
