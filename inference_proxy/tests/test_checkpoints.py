"""What the keeper saves at each checkpoint."""

import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from inference_proxy.exceptions import StoreUnavailable
from inference_proxy.protocols.base import GenerationRequest
from inference_proxy.replies import live
from inference_proxy.replies.generation import Generation
from inference_proxy.replies.live import CHECKPOINT_CHARACTERS, LiveReplies
from inference_proxy.replies.store import Directives, Draft, FinishedReply
from inference_proxy.replies.transcript import Transcript
from inference_proxy.tests.test_continuing import FORMER


class Store:
    """Keeps what each checkpoint saves."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []

        self.skipped: set[uuid.UUID] = set()
        self.finished: list[FinishedReply] = []
        self.is_away = False
        self.rows: set[uuid.UUID] = set()
        self.interrupted: list[uuid.UUID] = []

    def checkpoint(self, drafts: Sequence[Draft]) -> Directives:
        self.drafts = list(drafts)
        return Directives(skipped=frozenset(self.skipped))

    def interrupt(self, reply_ids: Sequence[uuid.UUID]) -> frozenset[uuid.UUID]:
        if self.is_away:
            raise StoreUnavailable
        found = self.rows.intersection(reply_ids)
        self.interrupted += found
        return frozenset(found)

    def count_uncounted(self) -> None:
        pass

    def has_abandoned(self) -> bool:
        return False

    def interrupt_abandoned(self) -> int:
        if self.is_away:
            raise StoreUnavailable
        return 0

    def running_here(self) -> frozenset[uuid.UUID]:
        return frozenset(self.rows)

    def finish(self, reply: FinishedReply) -> str:
        if self.is_away:
            raise StoreUnavailable
        self.finished.append(reply)
        return reply.status


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def replies(store: Store) -> LiveReplies:
    return LiveReplies(store)  # type: ignore[arg-type]


def add_running(replies: LiveReplies, store: Any) -> Generation:
    generation = Generation(uuid.uuid4(), GenerationRequest([]), store)
    replies._running[generation.reply_id] = generation
    return generation


def saved_lengths(replies: LiveReplies, store: Store, generation: Generation, piece: str, rounds: int) -> list[int | None]:
    """Append a piece before each checkpoint, one checkpoint per second. Return the lengths of the saved texts."""
    lengths = []
    for now in range(rounds):
        generation.transcript.append(b"{}", piece)
        replies._checkpoint(float(now))
        [draft] = store.drafts
        lengths.append(None if draft.text is None else len(draft.text))
    return lengths


def test_every_checkpoint_saves_what_is_new(replies: LiveReplies, store: Store) -> None:
    assert saved_lengths(replies, store, add_running(replies, store), "word", 3) == [4, 8, 12]


def test_a_checkpoint_without_new_text_saves_no_text(replies: LiveReplies, store: Store) -> None:
    generation = add_running(replies, store)
    assert saved_lengths(replies, store, generation, "word", 1) == [4]
    assert saved_lengths(replies, store, generation, "", 1) == [None]


def test_what_a_checkpoint_skipped_comes_with_the_next_one(replies: LiveReplies, store: Store) -> None:
    generation = add_running(replies, store)
    store.skipped = {generation.reply_id}
    assert saved_lengths(replies, store, generation, "word", 1) == [4]
    store.skipped = set()
    assert saved_lengths(replies, store, generation, "", 2) == [4, None]


def test_a_long_reply_is_saved_less_often(replies: LiveReplies, store: Store) -> None:
    piece = "x" * CHECKPOINT_CHARACTERS
    lengths = saved_lengths(replies, store, add_running(replies, store), piece, 9)
    assert [None if length is None else length // len(piece) for length in lengths] == [
        1,
        2,
        None,
        4,
        None,
        None,
        None,
        8,
        None,
    ]


def test_each_channel_is_saved_when_it_has_grown(replies: LiveReplies, store: Store) -> None:
    generation = add_running(replies, store)
    saved = []
    for now, (reasoning, text) in enumerate([("think", ""), ("", "answer"), ("ing", "!"), ("", "")]):
        if reasoning:
            generation.transcript.append_reasoning(reasoning)
        generation.transcript.append(b"{}", text)
        replies._checkpoint(float(now))
        saved += [(draft.reasoning, draft.text) for draft in store.drafts]
    assert saved == [("think", None), (None, "answer"), ("thinking", "answer!"), (None, None)]


def test_long_reasoning_is_saved_less_often(replies: LiveReplies, store: Store) -> None:
    generation = add_running(replies, store)
    saved = []
    for now in range(4):
        generation.transcript.append_reasoning("x" * CHECKPOINT_CHARACTERS)
        replies._checkpoint(float(now))
        [draft] = store.drafts
        saved.append(draft.reasoning is not None)
    assert saved == [True, True, False, True]


# --- Replies that never began ---------------------------------------------------------------------------------------------


@pytest.fixture
def no_keeper(replies: LiveReplies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "keep", lambda: None)


def test_a_reply_that_never_began_is_interrupted_when_its_row_appears(
    replies: LiveReplies, store: Store, no_keeper: None
) -> None:
    reply_id = uuid.uuid4()
    replies.note_never_begun(reply_id)
    store.is_away = True
    replies._tick()
    store.is_away = False
    replies._tick()
    assert store.interrupted == []
    store.rows.add(reply_id)
    for _ in range(3):
        replies._tick()
    assert store.interrupted == [reply_id]


@pytest.mark.usefixtures("no_keeper")
def test_a_reply_that_can_t_be_continued_for_lack_of_memory_is_interrupted_at_once(
    replies: LiveReplies, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Transcript, "begin_with", fail)
    reply_id = uuid.uuid4()
    store.rows.add(reply_id)
    replies.expect(reply_id)
    with pytest.raises(MemoryError):
        replies.start(reply_id, GenerationRequest([]), former=FORMER)
    replies._tick()
    assert (store.interrupted, replies._expected) == ([reply_id], {})


def test_it_is_forgotten_when_it_would_count_as_abandoned(
    replies: LiveReplies, store: Store, no_keeper: None, settings: Any
) -> None:
    settings.ABANDONED_AFTER_SECONDS = -1
    replies.note_never_begun(uuid.uuid4())
    replies._tick()
    assert replies._never_begun == {}


@pytest.mark.usefixtures("no_keeper")
def test_a_reply_of_this_worker_that_nothing_makes_is_interrupted_at_the_second_look(
    replies: LiveReplies, store: Store, settings: Any
) -> None:
    settings.ABANDONED_AFTER_SECONDS = 0
    lost, expected = uuid.uuid4(), uuid.uuid4()
    replies.expect(expected)
    running = add_running(replies, store)
    store.rows |= {lost, expected, running.reply_id}
    replies._tick()
    assert store.interrupted == []
    replies._tick()
    assert store.interrupted == [lost]


# --- Threads that are gone ------------------------------------------------------------------------------------------------


class DeadThread:
    def is_alive(self) -> bool:
        return False


def lose_thread(generation: Generation) -> None:
    generation._has_run = True
    generation._thread = DeadThread()  # type: ignore[assignment]


@pytest.mark.usefixtures("no_keeper")
def test_the_keeper_saves_what_was_shown_where_the_thread_is_gone(replies: LiveReplies, store: Store) -> None:
    generation = add_running(replies, store)
    follower = generation.transcript.follow()
    generation.transcript.append(b'{"token": "shown"}', "shown")
    lose_thread(generation)
    store.is_away = True
    replies._tick()
    assert not generation.has_ended.is_set()
    store.is_away = False
    replies._tick()
    [reply] = store.finished
    assert (reply.reply_id, reply.status, reply.text) == (generation.reply_id, "interrupted", "shown")
    assert generation.has_ended.is_set() and generation.has_begun.is_set()
    follower.take()
    assert follower.has_ended
    assert replies.running() == []


@pytest.mark.usefixtures("no_keeper")
def test_an_end_that_can_t_be_saved_whole_is_an_interruption(
    replies: LiveReplies, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: FinishedReply) -> str:
        raise ValueError

    generation = add_running(replies, store)
    lose_thread(generation)
    store.rows.add(generation.reply_id)
    monkeypatch.setattr(store, "finish", fail)
    replies._tick()
    assert store.interrupted == [generation.reply_id]
    assert replies.running() == []


@pytest.mark.usefixtures("no_keeper")
def test_one_text_without_memory_keeps_no_other_from_being_saved(
    replies: LiveReplies, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> Draft:
        raise MemoryError

    monkeypatch.setattr(add_running(replies, store), "draft", fail)
    other = add_running(replies, store)
    replies._tick()
    assert [draft.reply_id for draft in store.drafts] == [other.reply_id]


@pytest.mark.parametrize("failure", [MemoryError, SystemExit, ValueError])
def test_whatever_ends_a_thread_ends_its_reply(store: Store, monkeypatch: pytest.MonkeyPatch, failure: Any) -> None:
    def fail() -> None:
        raise failure

    generation = Generation(uuid.uuid4(), GenerationRequest([]), store)  # type: ignore[arg-type]
    generation.transcript.append(b'{"token": "shown"}', "shown")
    monkeypatch.setattr(generation, "_read_upstream", fail)
    generation._run()
    assert [(reply.status, reply.text) for reply in store.finished] == [("interrupted", "shown")]
    assert generation.is_saved and generation.has_ended.is_set()
    assert generation.transcript.closing


def test_without_memory_for_the_end_the_keeper_saves_it(
    replies: LiveReplies, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = add_running(replies, store)
    generation.transcript.append(b'{"token": "shown"}', "shown")
    with monkeypatch.context() as without_memory:
        for name in ("_read_upstream", "_result", "_tell"):
            without_memory.setattr(generation, name, lambda *_: (_ for _ in ()).throw(MemoryError))
        generation._run()
    assert (generation.is_saved, generation.transcript.closing) == (False, None)
    monkeypatch.setattr(replies, "keep", lambda: None)
    replies._tick()
    assert [(reply.status, reply.text) for reply in store.finished] == [("interrupted", "shown")]
    assert generation.transcript.closing


def test_the_keeper_outlives_a_moment_without_memory(
    replies: LiveReplies, store: Store, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.CHECKPOINT_SECONDS = 0
    outcomes: list[type[BaseException]] = [MemoryError, MemoryError, SystemExit]

    def sleep(_: float) -> None:
        # Only the first round finds a thread that is gone.
        if len(outcomes) == 3:
            lose_thread(add_running(replies, store))
        raise outcomes.pop(0)

    monkeypatch.setattr(live.time, "sleep", sleep)
    with pytest.raises(SystemExit):
        replies._keep()
    assert len(store.finished) == 1


# --- A store that is away -------------------------------------------------------------------------------------------------


def test_checkpoints_resume_only_when_the_store_has_answered(
    replies: LiveReplies, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "inference_proxy.replies.live")
    store.is_away = True
    # No reply runs, so no checkpoint asks the store.
    for _ in range(3):
        replies._tick()
    assert caplog.messages == ["checkpoints paused: database unavailable"]
    store.is_away = False
    for _ in range(3):
        replies._tick()
    assert caplog.messages == ["checkpoints paused: database unavailable", "checkpoints resumed"]
