"""How replies are saved while they run and when they end."""

import uuid
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django.db import connection

from chatapi.database import recent_writes
from conversations.models import Message, UsageTotal
from conversations.services.replies import ending
from conversations.services.replies.store import DatabaseReplyStore
from conversations.tests.factories import make_conversation, make_message, make_reply, make_running_reply
from inference_proxy.exceptions import StoreUnavailable
from inference_proxy.replies.store import Draft, FinalStatus, FinishedReply, SentContext

pytestmark = pytest.mark.django_db
FINAL = ("complete", "stopped", "interrupted", "failed")


@pytest.fixture
def store() -> DatabaseReplyStore:
    return DatabaseReplyStore()


@pytest.fixture
def running() -> Message:
    return make_running_reply(make_message(make_conversation()), "so far", heartbeat_age_s=20)


def finished(reply: Message, status: Any = "complete", text: str = "whole", **more: Any) -> FinishedReply:
    values = {
        "error_code": "",
        "token_count": 3,
        "prompt_tokens": 7,
        "inference_time_ms": 41,
        "first_token_ms": 5,
        "finish_reason": "stop",
        **more,
    }
    return FinishedReply(reply_id=reply.id, status=status, text=text, **values)


def reload(message: Message) -> Message:
    return Message.objects.get(id=message.id)


# --- Checkpoints ----------------------------------------------------------------------------------------------------------


def test_a_checkpoint_saves_texts(store: DatabaseReplyStore, running: Message) -> None:
    silent = make_running_reply(make_message(make_conversation()), "kept", heartbeat_age_s=20)
    directives = store.checkpoint([Draft(running.id, "so far and more"), Draft(silent.id, None)])
    assert (directives.to_stop, directives.deleted) == (frozenset(), frozenset())
    assert (reload(running).content, reload(silent).content) == ("so far and more", "kept")
    assert reload(running).status == "streaming"


@pytest.mark.parametrize("are_rows_locked", [False, True])
def test_a_checkpoint_waits_for_no_disk_and_the_end_of_a_reply_does(
    store: DatabaseReplyStore, running: Message, *, are_rows_locked: bool
) -> None:
    """A trigger notes in the row's trace whether the commit that writes it will wait."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION note_wait() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN NEW.trace_id := current_setting('synchronous_commit'); RETURN NEW; END $$"
        )
        cursor.execute("CREATE TRIGGER note_wait BEFORE UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION note_wait()")
        cursor.execute("SHOW synchronous_commit")
        (usual,) = cursor.fetchone()
    store._are_rows_locked = are_rows_locked
    store.checkpoint([Draft(running.id, "so far and more")])
    assert reload(running).trace_id == "off"
    with connection.cursor() as cursor:
        # The end of a transaction would do that; this test is one.
        cursor.execute("SELECT set_config('synchronous_commit', %s, true)", [usual])
    store.finish(finished(running))
    assert reload(running).trace_id == usual != "off"


def test_a_checkpoint_writes_no_reply_that_says_nothing_new(store: DatabaseReplyStore, running: Message) -> None:
    def place() -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT ctid::text FROM messages WHERE id = %s", [running.id])
            return cursor.fetchone()

    store.checkpoint([Draft(running.id, "so far and more")])
    before = place()
    store.checkpoint([Draft(running.id, None)])
    assert place() == before


@pytest.mark.django_db(transaction=True)
def test_a_checkpoint_skips_a_locked_reply_and_saves_the_others(store: DatabaseReplyStore, running: Message) -> None:
    other = make_running_reply(make_message(make_conversation()), "so far")
    Message.objects.filter(id=running.id).update(stop_requested=True)
    known = connection.get_connection_params()
    same = {key: known[key] for key in ("dbname", "user", "password", "host", "port") if key in known}
    drafts = [Draft(running.id, "more"), Draft(other.id, "more")]
    with psycopg.connect(**same) as holder:
        holder.execute("SELECT FROM messages WHERE id = %s FOR UPDATE", [running.id])
        directives = store.checkpoint(drafts)
        assert (directives.skipped, directives.deleted, directives.to_stop) == ({running.id}, frozenset(), {running.id})
        assert (reload(running).content, reload(other).content) == ("so far", "more")
    assert store.checkpoint(drafts).skipped == frozenset()
    assert reload(running).content == "more"


def test_a_checkpoint_notes_who_is_followed(store: DatabaseReplyStore, running: Message) -> None:
    assert running.is_followed is None
    for is_followed in (True, False):
        store.checkpoint([Draft(running.id, None, is_followed)])
        assert reload(running).is_followed is is_followed


def test_no_index_holds_what_checkpoints_write() -> None:
    # Then PostgreSQL would write every index again with each checkpoint.
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'messages'")
        indexes = dict(cursor.fetchall())
    assert "idx_messages_parent" in indexes
    for column in ("heartbeat_at", "is_followed", "followed_at"):
        assert [name for name, definition in indexes.items() if column in definition] == []


def test_a_checkpoint_is_one_statement(store: DatabaseReplyStore, django_assert_num_queries: Any) -> None:
    replies = [make_running_reply(make_message(make_conversation())) for _ in range(5)]
    with django_assert_num_queries(1):
        store.checkpoint([Draft(reply.id, "text") for reply in replies])


def test_a_checkpoint_tells_what_to_stop_and_what_is_gone(store: DatabaseReplyStore, running: Message) -> None:
    Message.objects.filter(id=running.id).update(stop_requested=True)
    gone = uuid.uuid4()
    directives = store.checkpoint([Draft(running.id, "text"), Draft(gone, "text")])
    assert (directives.to_stop, directives.deleted) == ({running.id}, {gone})


@pytest.mark.parametrize("status", ["complete", "stopped", "failed"])
def test_a_checkpoint_changes_nothing_that_has_ended(store: DatabaseReplyStore, running: Message, status: str) -> None:
    Message.objects.filter(id=running.id).update(status=status, content="ended")
    store.checkpoint([Draft(running.id, "late")])
    assert reload(running).content == "ended"


def test_a_checkpoint_goes_on_where_the_worker_was_thought_dead(store: DatabaseReplyStore, running: Message) -> None:
    Message.objects.filter(id=running.id).update(status="interrupted")
    assert store.checkpoint([Draft(running.id, "alive")]).deleted == frozenset()
    assert (reload(running).content, reload(running).status) == ("alive", "interrupted")


# --- The end --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", FINAL)
def test_the_end_is_saved_whole(store: DatabaseReplyStore, running: Message, status: str) -> None:
    store.finish(finished(running, status, "text 🎈", error_code="upstream_error" if status == "failed" else ""))
    reply = reload(running)
    assert (reply.status, reply.content) == (status, "text 🎈")
    assert (reply.token_count, reply.prompt_tokens, reply.inference_time_ms, reply.first_token_ms) == (3, 7, 41, 5)
    assert reply.finish_reason == "stop"
    assert reply.error_code == ("upstream_error" if status == "failed" else None)


@pytest.mark.parametrize("status", FINAL)
def test_a_stop_that_was_stored_before_the_end_wins(store: DatabaseReplyStore, running: Message, status: Any) -> None:
    Message.objects.filter(id=running.id).update(stop_requested=True)
    end = finished(running, status, "what was shown", error_code="upstream_error" if status == "failed" else "")
    # The second attempt is one whose predecessor's answer was lost.
    assert [store.finish(end), store.finish(end)] == ["stopped", "stopped"]
    reply = reload(running)
    assert (reply.status, reply.content, reply.error_code) == ("stopped", "what was shown", None)


def test_an_answer_whose_stop_was_stored_counts_if_it_has_text(store: DatabaseReplyStore) -> None:
    for text, counts in (("new", True), ("", False)):
        asked = make_message(make_conversation())
        make_reply(asked, "old")
        new = make_running_reply(asked, is_active=False, stop_requested=True)
        store.finish(finished(new, "failed", text, error_code="upstream_error"))
        assert reload(new).is_active is counts


@pytest.mark.parametrize("first", ["complete", "stopped", "failed"])
@pytest.mark.parametrize("second", FINAL)
def test_nothing_else_leaves_a_final_status(store: DatabaseReplyStore, running: Message, first: Any, second: Any) -> None:
    store.finish(finished(running, first, "first"))
    store.finish(finished(running, second, "second"))
    assert (reload(running).status, reload(running).content) == (first, "first")


@pytest.mark.parametrize("status", FINAL)
def test_a_late_result_overwrites_a_guess(store: DatabaseReplyStore, status: Any) -> None:
    lost = make_running_reply(make_message(make_conversation()), "half", heartbeat_age_s=31)
    assert store.interrupt_abandoned() == 1
    assert (reload(lost).status, reload(lost).content) == ("interrupted", "half")
    store.finish(finished(lost, status, "half and the rest"))
    assert (reload(lost).status, reload(lost).content) == (status, "half and the rest")


def test_a_guess_and_its_correction_send_everyone_to_the_primary(
    store: DatabaseReplyStore, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that has only one of them would count no reply as running."""
    set_keys: list[str] = []
    settings.DATABASE_REPLICA = {}
    monkeypatch.setattr(recent_writes, "marks", SimpleNamespace(mark=lambda key, seconds: set_keys.append(key) or True))
    lost = make_running_reply(make_message(make_conversation()), "half", heartbeat_age_s=31)
    assert store.interrupt_abandoned() == 1
    assert set_keys == [recent_writes.PAUSE]
    store.finish(finished(lost, "complete", "half and the rest"))
    assert set_keys == [recent_writes.PAUSE] * 2
    assert store.interrupt_abandoned() == 0
    store.finish(finished(make_running_reply(make_message(make_conversation()), "half")))
    assert set_keys == [recent_writes.PAUSE] * 2


def test_finishing_what_was_deleted_is_nothing(store: DatabaseReplyStore, running: Message) -> None:
    running.conversation.delete()
    store.finish(finished(running))
    assert not Message.objects.exists()


@pytest.mark.parametrize(("age_s", "is_abandoned"), [(0, False), (25, False), (31, True), (3600, True), (None, True)])
def test_a_reply_is_abandoned_after_30_seconds_without_a_heartbeat(
    store: DatabaseReplyStore, age_s: float | None, is_abandoned: bool
) -> None:
    reply = make_running_reply(make_message(make_conversation()), heartbeat_age_s=age_s or 0)
    if age_s is None:
        Message.objects.update(heartbeat_at=None)
    assert store.interrupt_abandoned() == int(is_abandoned)
    assert reload(reply).status == ("interrupted" if is_abandoned else "streaming")


def test_replies_that_never_began_are_interrupted_if_they_are_running(store: DatabaseReplyStore, running: Message) -> None:
    ended, other = make_reply(make_message(make_conversation())), make_running_reply(make_message(make_conversation()))
    assert store.interrupt([running.id, ended.id, uuid.uuid4()]) == {running.id}
    assert [reload(each).status for each in (running, ended, other)] == ["interrupted", "complete", "streaming"]
    assert store.interrupt([]) == frozenset()


def test_only_running_replies_are_abandoned(store: DatabaseReplyStore) -> None:
    asked = make_message(make_conversation())
    make_reply(asked)
    assert store.interrupt_abandoned() == 0


@pytest.mark.django_db(transaction=True)
def test_an_end_waits_for_no_lock_on_totals_and_is_counted_later(store: DatabaseReplyStore, running: Message) -> None:
    store.finish(finished(make_running_reply(make_message(make_conversation()))))
    [before] = UsageTotal.objects.all()
    known = connection.get_connection_params()
    same = {key: known[key] for key in ("dbname", "user", "password", "host", "port") if key in known}
    Message.objects.filter(id=running.id).update(created_at=before.bucket)
    with psycopg.connect(**same) as holder:
        holder.execute("SELECT FROM usage_totals FOR UPDATE")
        assert store.finish(finished(running)) == "complete"
        store.count_uncounted()
        assert UsageTotal.objects.get().tokens == 3
    for _ in range(2):
        store.count_uncounted()
        assert UsageTotal.objects.get().tokens == 6


# --- Which answer counts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "text", "counts"),
    [
        ("complete", "new", True),
        ("complete", "", False),
        ("stopped", "new", True),
        ("stopped", "", False),
        ("failed", "new", False),
        ("interrupted", "new", False),
        ("interrupted", "", False),
    ],
)
def test_a_new_answer_counts_when_it_is_worth_it(store: DatabaseReplyStore, status: Any, text: str, counts: bool) -> None:
    asked = make_message(make_conversation())
    old = make_reply(asked, "old")
    new = make_running_reply(asked, is_active=False)
    assert reload(old).is_active is True
    store.finish(finished(new, status, text))
    assert (reload(old).is_active, reload(new).is_active) == (not counts, counts)


def test_exactly_one_answer_counts_after_many(store: DatabaseReplyStore) -> None:
    conversation = make_conversation()
    other_question = make_message(conversation)
    other_answer = make_reply(other_question)
    asked = make_message(conversation)
    answers = [make_reply(asked, f"{number}", is_active=number == 1) for number in range(3)]
    new = make_running_reply(asked, is_active=False)
    store.finish(finished(new))
    assert [reload(answer).is_active for answer in answers] == [False, False, False]
    assert reload(new).is_active and reload(asked).is_active
    assert reload(other_question).is_active and reload(other_answer).is_active


def test_a_late_result_takes_no_place_of_a_whole_answer(store: DatabaseReplyStore) -> None:
    """Meanwhile the user may have chosen it; a guess that is corrected must not choose for them."""
    asked = make_message(make_conversation())
    old = make_reply(asked, "old")
    lost = make_running_reply(asked, is_active=False, heartbeat_age_s=60)
    store.interrupt_abandoned()
    store.finish(finished(lost))
    assert (reload(old).is_active, reload(lost).is_active) == (True, False)


# --- A database that is away ----------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_absent_database_is_said_to_be_away(store: DatabaseReplyStore) -> None:
    running = make_running_reply(make_message(make_conversation()), "so far")
    name = connection.settings_dict["NAME"]
    connection.close()
    patience, connection.pool.timeout = connection.pool.timeout, 0.2
    known = connection.get_connection_params()
    elsewhere = {key: known[key] for key in ("user", "password", "host", "port") if key in known}
    with psycopg.connect(dbname="postgres", autocommit=True, **elsewhere) as operator:
        operator.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        try:
            operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            for call in (
                lambda: store.checkpoint([Draft(running.id, "text")]),
                lambda: store.finish(finished(running)),
                lambda: store.interrupt([]),
                store.interrupt_abandoned,
            ):
                with pytest.raises(StoreUnavailable):
                    call()
        finally:
            operator.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            connection.pool.timeout = patience
            connection.close()
            connection.close_pool()
    store.finish(finished(running))
    assert reload(running).status == "complete"


@pytest.mark.django_db(transaction=True)
def test_the_store_keeps_no_connection(store: DatabaseReplyStore) -> None:
    running = make_running_reply(make_message(make_conversation()))
    for call in (
        lambda: store.checkpoint([Draft(running.id, "text")]),
        lambda: store.interrupt([]),
        store.interrupt_abandoned,
        lambda: store.finish(finished(running)),
    ):
        call()
        assert connection.connection is None


def test_the_receipt_says_what_the_model_took(store: DatabaseReplyStore, running: Message) -> None:
    Message.objects.filter(id=running.id).update(
        context={"messages": 9, "characters": 90, "left_out": 2, "reason": "characters"}
    )
    end = finished(running, "interrupted", sent=SentContext(messages=3, characters=30, left_out=6))
    for _ in range(2):
        store.finish(end)
    assert reload(running).context == {"messages": 3, "characters": 30, "left_out": 8, "reason": "model_limit"}


@pytest.mark.parametrize("status", FINAL)
def test_what_the_inference_service_said_is_kept_for_staff(
    store: DatabaseReplyStore, running: Message, status: FinalStatus
) -> None:
    said = {"upstream_finish": "MAX_TOKENS", "upstream_status": 529, "upstream_code": "overloaded_error", "trace_id": "t" * 128}
    store.finish(finished(running, status, **said))
    ended = reload(running)
    assert {name: getattr(ended, name) for name in said} == said


def test_what_was_not_said_is_null(store: DatabaseReplyStore, running: Message) -> None:
    store.finish(finished(running))
    ended = reload(running)
    assert (ended.upstream_finish, ended.upstream_status, ended.upstream_code, ended.trace_id) == (None, None, None, None)


SAVED = [
    field.attname for field in Message._meta.concrete_fields if field.attname not in ("id", "parent_id", "conversation_id")
]


@pytest.mark.parametrize("is_stopped", [False, True])
@pytest.mark.parametrize(("status", "text"), [("complete", "whole"), ("failed", "partly"), ("interrupted", "")])
def test_the_short_form_of_an_end_saves_what_the_long_one_does(
    store: DatabaseReplyStore, monkeypatch: pytest.MonkeyPatch, status: Any, text: str, is_stopped: bool
) -> None:
    ended = []
    for is_short in (True, False):
        if not is_short:
            monkeypatch.setattr(ending, "END_SQL", ending.END_SQL.replace("AND is_active", "AND false"))
        conversation = make_conversation(user_id=uuid.uuid4())
        reply = make_running_reply(make_message(conversation))
        Message.objects.filter(id=reply.id).update(stop_requested=is_stopped, created_at=conversation.created_at)
        said = store.finish(finished(reply, status, text, token_count=7, prompt_tokens=3, error_code="x", model_tag="m"))
        row = Message.objects.filter(id=reply.id).values(*SAVED).get()
        row.pop("created_at")
        totals = UsageTotal.objects.filter(user_id=conversation.user_id).values_list("tokens", "prompt_tokens", "replies")
        ended.append((said, row, list(totals)))
    assert ended[0] == ended[1]
