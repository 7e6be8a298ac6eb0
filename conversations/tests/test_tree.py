"""A conversation as a tree: whatever is edited, regenerated and chosen, each branch comes back as it was left."""

import random
from uuid import UUID

import pytest
from django.db import connection

from conversations.models import Conversation, Message, Role
from conversations.services.replies.versions import activate_message
from conversations.services.sending.begin import edit_turn, regenerate_turn, send_turn
from conversations.services.sending.context import SEPARATOR
from conversations.services.sending.turn import Terms, Turn
from conversations.surfaces.api.queries import read_conversation_and_messages
from conversations.tests.ending import end
from conversations.tests.factories import USER_ID, make_conversation, make_message, make_reply
from inference_proxy.protocols.base import Sampling
from tests.support.reference_tree import Node

pytestmark = pytest.mark.django_db

STEPS = 14


class Reference:
    """The tree beside the service: each verb does the same to both."""

    def __init__(self, conversation: Conversation, seed: int, *, linked: bool) -> None:
        self.conversation = conversation
        self.chance = random.Random(seed)
        self.root = Node("")
        self.count = 0
        self.paths: list[list[Node]] = []
        last: Message | None = None
        leaf = self.root
        for number in range(3):
            asked = make_message(conversation, f"q{number}", follows_id=last.id if linked and last else None)
            last = make_reply(asked, f"a{number}")
            question = leaf.add(asked.content)
            leaf = question.add(last.content)
            question.id, leaf.id = asked.id, last.id
            leaf.choose()

    def step(self) -> None:
        verb = self.chance.choice([self.send, self.edit, self.regenerate, self.activate, self.activate])
        verb()
        self.check()

    def send(self) -> None:
        leaf = (self.root.path() or [self.root])[-1]
        question = leaf.add(self._text())
        turn = send_turn(conversation_id=self.conversation.id, user_id=USER_ID, content=question.text, sampling=Sampling())
        question.choose()
        self._check_context(turn, question)
        self._end(turn, question)

    def edit(self) -> None:
        edited = self._any(Role.USER)
        turn = edit_turn(
            conversation_id=self.conversation.id,
            user_id=USER_ID,
            message_id=edited.id,
            content=(text := self._text()),
            sampling=Sampling(),
        )
        edited.choose()
        self.paths.append(self.root.path())
        question = edited.above.add(text)
        question.choose()
        self._check_context(turn, question)
        self._end(turn, question)

    def regenerate(self) -> None:
        asked = self._any(Role.USER)
        named = self.chance.choice([asked, *asked.below])
        turn = regenerate_turn(conversation_id=self.conversation.id, user_id=USER_ID, message_id=named.id, sampling=Sampling())
        asked.choose()
        self._check_context(turn, asked)
        self._end(turn, asked)

    def activate(self) -> None:
        chosen = self.chance.choice(self.root.everything())
        activate_message(conversation_id=self.conversation.id, user_id=USER_ID, message_id=chosen.id)
        chosen.choose()

    def _any(self, role: str) -> Node:
        wanted = set(Message.objects.filter(conversation=self.conversation, role=role).values_list("id", flat=True))
        return self.chance.choice([node for node in self.root.everything() if node.id in wanted])

    def _end(self, turn: Turn, question: Node) -> None:
        question.id = turn.user_message_id
        status, text = self.chance.choice([("complete", self._text()), ("complete", self._text()), ("failed", "")])
        end(turn, status, text)
        before = question.chosen
        had_text = before is not None and before.text
        answer = question.add(text)
        answer.id = turn.reply_id
        if text or not had_text:
            question.chosen = answer
        if not any(other.text for other in question.below) and (left := self._left_for(question)):
            # The model has answered nothing to this version. What followed an earlier void answer is still remembered.
            question.chosen = before or answer
            left.choose()

    def _left_for(self, question: Node) -> Node | None:
        """Return the version of a question that was active before it."""
        beside = {node for node in question.above.below if node is not question}
        return next((node for path in reversed(self.paths) for node in path if node in beside), None)

    def _text(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def _check_context(self, turn: Turn, question: Node) -> None:
        before = []
        node = question.above
        while node is not self.root and node is not None:
            before.append(node.text)
            node = node.above
        said = [part for message in turn.request.messages for part in message["content"].split(SEPARATOR)]
        assert said == [text for text in reversed([question.text, *before]) if text]

    def check(self) -> None:
        shown = read_conversation_and_messages(self.conversation.id, USER_ID).messages
        path = self.root.path()
        self.paths.append(path)
        assert [(item.id, item.content) for item in shown] == [(node.id, node.text) for node in path]
        for item, node in zip(shown, path, strict=True):
            beside = node.above.below
            assert (item.version, item.versions) == (beside.index(node) + 1, len(beside))
            if item.role == Role.USER and item.follows_id:
                assert item.follows_id == node.above.id


@pytest.fixture
def conversation() -> Conversation:
    return make_conversation()


@pytest.mark.parametrize("linked", [True, False], ids=["new rows", "rows of before"])
@pytest.mark.parametrize("seed", [*range(26), 1352, 1943, 1959, 1982])
def test_every_branch_comes_back_as_it_was_left(conversation: Conversation, seed: int, linked: bool) -> None:
    reference = Reference(conversation, seed, linked=linked)
    reference.check()
    for _ in range(STEPS):
        reference.step()


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(1000, 3000))
def test_every_branch_comes_back_as_it_was_left_in_many_orders(conversation: Conversation, seed: int) -> None:
    reference = Reference(conversation, seed, linked=seed % 2 == 0)
    for _ in range(STEPS):
        reference.step()


def test_a_node_of_the_version_before_may_go_on_in_between(conversation: Conversation) -> None:
    first = make_message(conversation, "q1")
    answer = make_reply(first, "a1")
    # As that version saves a turn: without what the question follows.
    second = make_message(conversation, "q2")
    make_reply(second, "a2")
    end(edit(first, "q1 changed"), "complete", "b1")
    end(send(conversation, "q3"), "complete", "a3")
    activate(first)
    assert texts(conversation) == ["q1", "a1", "q2", "a2"]
    assert Message.objects.get(id=second.id).follows_id == answer.id


def test_a_send_behind_an_earlier_answer_is_a_version_of_what_followed_it(conversation: Conversation) -> None:
    first = start(conversation, "q1", "a1")
    start(conversation, "q2", "a2")
    end(regenerate(conversation, first.reply_id), "complete", "b1")
    start(conversation, "q3", "a3")
    activate_message(conversation_id=conversation.id, user_id=USER_ID, message_id=first.reply_id)
    assert texts(conversation) == ["q1", "a1", "q2", "a2"]
    again = edit(Message.objects.get(content="q2"), "q2 changed")
    end(again, "complete", "c2")
    shown = read_conversation_and_messages(conversation.id, USER_ID).messages
    assert [(item.content, item.version, item.versions) for item in shown] == [
        ("q1", 1, 1),
        ("a1", 1, 2),
        ("q2 changed", 2, 2),
        ("c2", 1, 1),
    ]


@pytest.mark.slow
def test_ten_thousand_messages_are_read_in_one_query(conversation: Conversation) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO messages (id, conversation_id, role, content, created_at)"
            " SELECT gen_random_uuid(), %s, CASE n %% 2 WHEN 0 THEN 'user' ELSE 'assistant' END, 'text ' || n,"
            " now() + n * interval '1 second' FROM generate_series(0, 9999) AS n",
            [conversation.id],
        )
    first = Message.objects.get(content="text 0")
    end(edit(first, "another beginning"), "complete", "another answer")
    assert texts(conversation) == ["another beginning", "another answer"]
    activate(first)
    assert texts(conversation) == [f"text {number}" for number in range(10_000)]


def start(conversation: Conversation, question: str, answer: str) -> Turn:
    turn = send(conversation, question)
    end(turn, "complete", answer)
    return turn


def send(conversation: Conversation, content: str, terms: Terms | None = None) -> Turn:
    return send_turn(conversation_id=conversation.id, user_id=USER_ID, content=content, sampling=Sampling(), terms=terms)


def edit(asked: Message, content: str) -> Turn:
    return edit_turn(
        conversation_id=asked.conversation_id, user_id=USER_ID, message_id=asked.id, content=content, sampling=Sampling()
    )


def regenerate(conversation: Conversation, message_id: UUID) -> Turn:
    return regenerate_turn(conversation_id=conversation.id, user_id=USER_ID, message_id=message_id, sampling=Sampling())


def activate(message: Message) -> None:
    activate_message(conversation_id=message.conversation_id, user_id=USER_ID, message_id=message.id)


def texts(conversation: Conversation) -> list[str]:
    return list(conversation.messages.active_branch().oldest_first().values_list("content", flat=True))
