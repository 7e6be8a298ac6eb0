"""Who counts as dead: what a worker has itself seen of the others' leases."""

import dataclasses
import errno
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from chatapi.database.pools import SeparatePool
from conversations.models import Message, Worker
from conversations.services.replies.leases import Lease, LeaseWatch, Reading
from conversations.services.replies.processes import Process, this_process
from conversations.services.replies.store import DatabaseReplyStore
from conversations.tests.factories import make_conversation, make_message, make_running_reply
from tests.support.waiting import wait_until

HERE = Process("here", "boot 1", 1, 100)
ELSEWHERE = Process("elsewhere", "boot 2", 1, 100)
OTHER = uuid.uuid4()


def watch_for(watch: LeaseWatch, seconds: int, *, begin: int = 0, renewals: int | None = 1, is_lock_free: bool = False) -> int:
    """Read the lease of another worker every second. Return after how many seconds it counts as dead, -1 if it never does."""
    for second in range(seconds + 1):
        readings = [] if renewals is None else [Reading(OTHER, renewals, ELSEWHERE, is_lock_free)]
        if watch.take(readings, float(begin + second)):
            return second
    return -1


def test_a_lease_that_does_not_change_is_dead_after_30_seconds() -> None:
    assert watch_for(LeaseWatch(HERE), 40) == 30


def test_a_lease_that_changes_is_alive() -> None:
    watch = LeaseWatch(HERE)
    for second in range(200):
        assert not watch.take([Reading(OTHER, second // 25, ELSEWHERE)], float(second))


def test_counting_starts_anew_after_a_gap() -> None:
    watch = LeaseWatch(HERE)
    assert watch_for(watch, 29) == -1
    # PostgreSQL was paused for 36 s: no worker could renew.
    assert watch_for(watch, 29, begin=65) == -1
    assert watch_for(watch, 40, begin=95) == 0


def test_a_free_lock_proves_a_death_after_5_seconds() -> None:
    assert watch_for(LeaseWatch(HERE), 40, is_lock_free=True) == 5


def test_a_lock_that_becomes_free_late_counts_from_then() -> None:
    watch = LeaseWatch(HERE)
    assert watch_for(watch, 20) == -1
    assert watch_for(watch, 40, begin=21, is_lock_free=True) == 5


def test_a_free_lock_proves_nothing_of_a_lease_that_is_renewed() -> None:
    watch = LeaseWatch(HERE)
    for second in range(100):
        assert not watch.take([Reading(OTHER, second // 3, ELSEWHERE, is_lock_free=True)], float(second))


def test_a_worker_that_comes_back_is_alive_again() -> None:
    watch = LeaseWatch(HERE)
    assert watch_for(watch, 40) == 30
    assert watch_for(watch, 5, begin=31, renewals=2) == -1


def test_a_worker_without_a_lease_that_a_running_reply_names_is_dead_after_30_seconds() -> None:
    watch = LeaseWatch(HERE)
    assert watch_for(watch, 40, renewals=None) == -1
    watch.note_named([OTHER])
    assert watch_for(watch, 40, begin=41, renewals=None) == 30


# --- Processes of the same machine ----------------------------------------------------------------------------------------


def test_a_process_that_is_gone_from_this_machine_is_dead_at_once() -> None:
    here = this_process()
    assert here.boot
    ended = subprocess.Popen(["true"])
    ended_process = dataclasses.replace(here, pid=ended.pid, start=1)
    ended.wait()
    assert LeaseWatch(here).take([Reading(OTHER, 1, ended_process)], 0.0) == {OTHER}


@pytest.mark.parametrize(
    "changes",
    [{}, {"host": "another", "pid": 0}, {"boot": "another", "pid": 0}, {"boot": "", "pid": 0}, {"start": None, "pid": 0}],
    ids=["this one", "another host", "another boot", "no boot", "no start"],
)
def test_what_can_t_be_known_proves_nothing(changes: dict[str, object]) -> None:
    here = this_process()
    assert not dataclasses.replace(here, **changes).is_gone(here)  # type: ignore[arg-type]


def test_another_process_with_the_same_id_is_no_sign_of_life() -> None:
    here = this_process()
    assert here.start is not None
    assert dataclasses.replace(here, start=here.start + 1).is_gone(here)


def test_a_process_that_its_parent_has_not_noticed_is_gone() -> None:
    here = this_process()
    with subprocess.Popen(["sleep", "100"]) as child:
        process = dataclasses.replace(here, pid=child.pid, start=_start_of(child.pid))
        assert not process.is_gone(here)
        child.kill()
        wait_until(lambda: process.is_gone(here), "the killed process is gone")


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOENT, errno.ESRCH], ids=errno.errorcode.get
)
def test_a_process_that_can_t_be_looked_at_is_not_gone(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A worker without descriptors would otherwise find all others dead, and mark their replies."""
    here, is_gone = this_process(), number in (errno.ENOENT, errno.ESRCH)

    def refuse(*_: object) -> str:
        raise OSError(number, "refused")

    monkeypatch.setattr(Path, "read_text", refuse)
    assert here.is_gone(here) is is_gone
    assert LeaseWatch(here).take([Reading(OTHER, 1, here)], 0.0) == ({OTHER} if is_gone else frozenset())
    assert this_process().start is None


def _start_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[19])


# --- In the database ------------------------------------------------------------------------------------------------------


@pytest.fixture
def leases(transactional_db: None) -> Iterator[list[Lease]]:
    pools = [SeparatePool(f"lease-{number}", size=1, timeout_s=5) for number in range(2)]
    yield [Lease(pool) for pool in pools]
    for pool in pools:
        pool.close()


def other_session() -> psycopg.Connection:
    known = connection.get_connection_params()
    return psycopg.connect(**{key: known[key] for key in ("dbname", "user", "password", "host", "port") if key in known})


def test_a_renewal_changes_one_row(leases: list[Lease]) -> None:
    lease, _ = leases
    lease.renew()
    lease.renew()
    [row] = Worker.objects.all()
    assert (row.id, row.renewals, row.pid) == (lease.worker_id, 2, this_process().pid)
    assert row.lock_server


def test_a_session_that_lives_holds_its_lock(leases: list[Lease]) -> None:
    lease, reader = leases
    lease.renew()
    assert _reads_free_lock(reader, lease) is False
    lease._pool.close()
    # PostgreSQL ends a session, and frees its locks, a moment after its connection was closed.
    wait_until(lambda: _reads_free_lock(reader, lease), "the lock of the closed session is free")


def test_a_lock_of_a_server_that_has_restarted_since_proves_nothing(leases: list[Lease]) -> None:
    lease, reader = leases
    lease.renew()
    lease._pool.close()
    Worker.objects.update(lock_server="1234.5")
    assert _reads_free_lock(reader, lease) is False


def _reads_free_lock(reader: Lease, lease: Lease) -> bool:
    """Whether a reader that suspects this lease finds its lock free."""
    found: list[Reading] = []
    reader._watch.suspects = lambda: [lease.worker_id]  # type: ignore[method-assign]
    reader._watch.take = lambda readings, now: frozenset(found.extend(readings) or ())  # type: ignore[method-assign]
    reader.renew()
    return next(each.is_lock_free for each in found if each.worker_id == lease.worker_id)


def test_a_lock_on_messages_keeps_no_lease_from_being_renewed(leases: list[Lease]) -> None:
    lease, _ = leases
    with other_session() as holder:
        holder.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
        lease.renew()
    assert Worker.objects.get().renewals == 1


def test_the_replies_of_a_dead_worker_are_marked_and_its_lease_is_removed(leases: list[Lease]) -> None:
    lease, reader = leases
    lease.renew()
    lost = make_running_reply(make_message(make_conversation()), "half", worker=lease.worker_id)
    alive = make_running_reply(make_message(make_conversation()), "half", worker=reader.worker_id)
    store = DatabaseReplyStore(lease=reader)
    reader.renew()
    assert store.interrupt_abandoned() == 0
    reader._dead = frozenset([lease.worker_id])
    assert store.has_abandoned()
    assert store.interrupt_abandoned() == 1
    assert not store.has_abandoned()
    assert Message.objects.get(id=lost.id).status == "interrupted"
    assert Message.objects.get(id=alive.id).status == "streaming"
    assert list(Worker.objects.values_list("id", flat=True)) == [reader.worker_id]


def test_a_locked_reply_of_a_dead_worker_is_marked_later(leases: list[Lease]) -> None:
    lease, reader = leases
    lost = [make_running_reply(make_message(make_conversation()), worker=lease.worker_id) for _ in range(2)]
    lease.renew()
    reader._dead = frozenset([lease.worker_id])
    store = DatabaseReplyStore(lease=reader)
    with other_session() as holder:
        holder.execute("SELECT FROM messages WHERE id = %s FOR UPDATE", [lost[0].id])
        assert store.interrupt_abandoned() == 1
        assert Worker.objects.filter(id=lease.worker_id).exists()
    assert store.interrupt_abandoned() == 1
    assert not Worker.objects.filter(id=lease.worker_id).exists()


def test_a_worker_that_ends_leaves_no_running_reply_and_no_lease(leases: list[Lease]) -> None:
    lease, _ = leases
    left = make_running_reply(make_message(make_conversation()), worker=lease.worker_id)
    lease.renew()
    lease._thread = object()  # type: ignore[assignment]
    DatabaseReplyStore(lease=lease).give_up_lease()
    assert Message.objects.get(id=left.id).status == "interrupted"
    assert not Worker.objects.exists()


def test_a_worker_knows_which_replies_run_here(leases: list[Lease]) -> None:
    lease, other = leases
    here = make_running_reply(make_message(make_conversation()), worker=lease.worker_id)
    make_running_reply(make_message(make_conversation()), worker=other.worker_id)
    make_running_reply(make_message(make_conversation()))
    assert DatabaseReplyStore(lease=lease).running_here() == {here.id}
    assert lease._watch._named == {other.worker_id}
