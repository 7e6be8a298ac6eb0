"""Random orders of all verbs at three nodes, beside a tree in plain Python that does the same.

After each step, the two must agree on the active branch, on how many versions each message has, and on what the model got.
What is remembered of a branch that was left shows when it is chosen again.
"""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest

from inference_proxy.protocols.base import CONTINUE_INSTRUCTION
from tests.conftest import StartServer
from tests.support.auth import make_token
from tests.support.client import Client, Stream
from tests.support.exchange import Exchange
from tests.support.reference_tree import Node
from tests.support.server import Server
from tests.support.steps import die, done, hold, respond, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

STEPS = 12
# A stop at another node waits for a checkpoint.
QUICK = {"CHECKPOINT_SECONDS": "0.1"}
BACKGROUND = {"Prefer": "respond-async"}
# The ids of a question and of its reply, and what it asks.
Waiting = tuple[str, str, str]
_schedules = itertools.count()


@pytest.fixture(scope="module")
def nodes(new_server: StartServer) -> Iterator[list[Server]]:
    with new_server(**QUICK) as first, new_server(**QUICK) as second, new_server(**QUICK) as third:
        yield [first, second, third]


class Schedule:
    """One conversation at the service, and the tree beside it."""

    def __init__(self, nodes: list[Server], upstream: ScriptedUpstream, seed: int) -> None:
        self.chance = random.Random(seed)
        self.user = Client(nodes[0].port, make_token())
        self.users = [self.user.at(node.port) for node in nodes]
        self.upstream = upstream
        self.tag = f"s{next(_schedules)}x"
        self.root = Node("", "root")
        self.paths: list[list[Node]] = []
        self.count = 0
        # How the model behaves, call by call, and what it was given.
        self.behaviours: list[tuple[Any, ...]] = []
        self.given: list[list[str]] = []
        self.expected: list[list[str]] = []
        upstream.script(self._answer, when=self.tag)
        # The instruction to continue names no schedule.
        upstream.script(self._answer, when=CONTINUE_INSTRUCTION.rsplit("\n\n", 1)[-1])
        self.conversation = self.user.create_conversation()
        self.path = f"/api/conversations/{self.conversation}"

    def run(self, steps: int) -> None:
        for _ in range(2):
            self.send()
            self.check()
        for _ in range(steps):
            verb = self.chance.choice(
                [
                    self.send,
                    self.edit,
                    self.regenerate,
                    self.activate,
                    self.activate,
                    self.fork,
                    self.go_on,
                    self.queue,
                    self.queue,
                ]
            )
            verb()
            self.check()
        self.delete()

    @property
    def anywhere(self) -> Client:
        return self.chance.choice(self.users)

    # The model

    def _answer(self, exchange: Exchange) -> None:
        self.given.append([part for message in exchange.call.messages for part in message["content"].split("\n\n")])
        for step in self.behaviours.pop(0):
            step(exchange)

    def _will(self, *steps: Any) -> None:
        self.behaviours.append(steps)

    def _outcome(self) -> tuple[str, str]:
        """Choose how the next reply ends; return its status and its text."""
        text = self._text()
        kind = self.chance.choice(["whole", "whole", "whole", "cut", "refuse"])
        if kind == "whole":
            self._will(tokens(text), done())
            return "complete", text
        if kind == "cut":
            self._will(tokens(text), die())
            return "failed", text
        self._will(respond("503 Service Unavailable", b"{}"))
        return "failed", ""

    def _text(self) -> str:
        self.count += 1
        return f"{self.tag}{self.count}"

    # The verbs

    def send(self) -> None:
        leaf = (self.root.path() or [self.root])[-1]
        question = leaf.add(self._text(), "user")
        status, text = self._outcome()
        stream = self.anywhere.send(self.conversation, question.text, when_busy=self.chance.choice(["enqueue", None]))
        question.choose()
        self._expect(question)
        self._end(question, stream, status, text)

    def edit(self) -> None:
        edited = self._any("user")
        question, status, text = self._version_of(edited)[0], *self._outcome()
        stream = self.anywhere.open("PUT", f"{self.path}/messages/{edited.id}", {"content": question.text})
        self._expect(question)
        self._end(question, stream, status, text)

    def regenerate(self) -> None:
        asked = self._any("user")
        named = self.chance.choice([asked, *[node for node in asked.below if node.role == "assistant"]])
        status, text = self._outcome()
        stream = self.anywhere.open("POST", f"{self.path}/messages/{named.id}/regenerate", {})
        asked.choose()
        self._expect(asked)
        self._end(asked, stream, status, text)

    def activate(self) -> None:
        chosen = self.chance.choice(self.root.everything())
        answer = self.anywhere.request("POST", f"{self.path}/messages/{chosen.id}/activate")
        assert answer.status == 200, answer
        chosen.choose()

    def fork(self) -> None:
        last = self.chance.choice([None, *self.root.everything()])
        body = {} if last is None else {"message_id": last.id}
        answer = self.anywhere.request("POST", f"{self.path}/fork", body)
        assert answer.status == 201, answer
        copied = self.anywhere.conversation(answer.json["id"])["messages"]
        way = self.root.path() if last is None else last.way()
        assert [(each["role"], each["content"]) for each in copied] == [(node.role, node.text) for node in way]

    def go_on(self) -> None:
        """Continue the last reply, if it may be."""
        reply = (self.root.path() or [self.root])[-1]
        may = reply.role == "assistant" and reply.text and reply.status in ("stopped", "failed")
        address = f"{self.path}/messages/{reply.id}/continue"
        if not may:
            answer = self.anywhere.request("POST", address, {})
            assert (answer.status, answer.json["code"]) == (409, "not_continuable"), answer
            return
        more = self._text()
        is_whole = self.chance.random() < 0.7
        self._will(tokens(more), done()) if is_whole else self._will(respond("503 Service Unavailable", b"{}"))
        self._expect(reply.above, reply.text, *CONTINUE_INSTRUCTION.split("\n\n"))
        stream = self.anywhere.open("POST", address, {})
        if is_whole:
            assert stream.finish()["status"] == "complete"
            reply.text, reply.status = reply.text + more, "complete"
        else:
            assert stream.status == 503, stream.json

    def queue(self) -> None:
        """Begin a reply by any verb, have messages wait behind it, and end it in some way."""
        gate = self.upstream.gate()
        half = self._text()
        end = self.chance.choice(["whole", "whole", "cut", "resume", "send", "drop", "interrupt"])
        self._will(tokens(half), hold(gate), *((tokens(" end"), done()) if end == "whole" else (die(),)))
        asked, stream = self._begin_held()
        self._expect(asked)
        stream.read_until(half)
        waiting = [self._enqueue() for _ in range(self.chance.randint(1, 3))]
        self._change(waiting)
        self._look_at(waiting)
        statuses = {"whole": ("complete", f"{half} end"), "cut": ("failed", half)}
        status, text = statuses.get(end, ("stopped", half))
        if end in ("resume", "send", "drop"):
            query = "?queued=drop" if end == "drop" else self.chance.choice(["", "?queued=keep"])
            answer = self.anywhere.request("POST", f"{self.path}/stop{query}")
            assert (answer.status, answer.json["status"]) == (200, "stopped"), answer
            if end == "drop":
                waiting = []
            self._look_at(waiting)
        elif end == "interrupt":
            first = self._text()
            self._will(tokens(f"to {first}"), done())
        # The model answers in the order in which messages have their turns.
        for _, _, content in waiting:
            self._will(tokens(f"to {content}"), done())
        now: Stream | None = None
        if end in ("whole", "cut"):
            gate.open()
        elif end == "interrupt":
            now = self.anywhere.send(self.conversation, first, when_busy="interrupt")
        self._end(asked, stream, status, text)
        if end == "resume":
            assert self.anywhere.request("POST", f"{self.path}/resume").status == 200
        elif end == "send":
            content = self._text()
            self._will(tokens(f"to {content}"), done())
            later = self.anywhere.send(self.conversation, content)
            waiting.append((later.headers["X-User-Message-Id"], later.message_id, content))
            assert later.finish()["status"] == "complete"
        elif now is not None:
            assert now.finish()["status"] == "complete"
            waiting.insert(0, (now.headers["X-User-Message-Id"], now.message_id, first))
        self._expect_turns(waiting)
        wait_until(self._is_idle, "nothing runs and nothing waits")

    def _expect_turns(self, asked: list[Waiting]) -> None:
        """Expect these questions and their replies, one after the other, at the end of the active branch."""
        for message_id, reply_id, content in asked:
            leaf = (self.root.path() or [self.root])[-1]
            question = leaf.add(content, "user", message_id)
            question.choose()
            self._expect(question)
            question.add(f"to {content}", "assistant", reply_id).choose()

    def delete(self) -> None:
        gate = self.upstream.gate()
        self._will(tokens("half"), hold(gate))
        stream = self.anywhere.send(self.conversation, self._text())
        stream.read_until("half")
        self._enqueue()
        calls = len(self.given)
        assert self.anywhere.request("DELETE", self.path).status == 204
        assert all(user.request("GET", self.path).status == 404 for user in self.users)
        assert len(self.given) == calls
        self.user.close()

    # What they share

    def _begin_held(self) -> tuple[Node, Stream]:
        verb = self.chance.choice(["send", "edit", "regenerate"])
        if verb == "send":
            leaf = (self.root.path() or [self.root])[-1]
            question = leaf.add(self._text(), "user")
            stream = self.anywhere.send(self.conversation, question.text)
            question.choose()
        elif verb == "edit":
            question, edited = self._version_of(self._any("user"))
            stream = self.anywhere.open("PUT", f"{self.path}/messages/{edited.id}", {"content": question.text})
        else:
            question = self._any("user")
            stream = self.anywhere.open("POST", f"{self.path}/messages/{question.id}/regenerate", {})
            question.choose()
        return question, stream

    def _version_of(self, edited: Node) -> tuple[Node, Node]:
        edited.choose()
        self.paths.append(self.root.path())
        assert edited.above is not None
        question = edited.above.add(self._text(), "user")
        question.choose()
        return question, edited

    def _enqueue(self) -> Waiting:
        content = self._text()
        body = {"content": content, "when_busy": "enqueue"}
        answer = self.anywhere.request("POST", f"{self.path}/messages", body, BACKGROUND)
        assert (answer.status, answer.json["status"]) == (202, "queued"), answer
        return answer.json["id"], answer.json["reply_id"], content

    def _change(self, waiting: list[Waiting]) -> None:
        place = self.chance.randrange(len(waiting))
        message_id, reply_id, _ = waiting[place]
        change = self.chance.choice(["", "put", "delete"])
        if change == "put":
            content = self._text()
            answer = self.anywhere.request("PUT", f"{self.path}/messages/{message_id}", {"content": content})
            assert (answer.status, answer.json["content"]) == (200, content), answer
            waiting[place] = (message_id, reply_id, content)
        elif change == "delete":
            assert self.anywhere.request("DELETE", f"{self.path}/messages/{message_id}").status == 204
            del waiting[place]

    def _look_at(self, waiting: list[Waiting]) -> None:
        shown = self.anywhere.conversation(self.conversation)["messages"]
        queued = [(each["id"], each["reply_id"], each["content"]) for each in shown if each["status"] == "queued"]
        assert queued == waiting

    def _is_idle(self) -> bool:
        found = self.anywhere.conversation(self.conversation)
        return found["running_message_id"] is None and all(each["status"] != "queued" for each in found["messages"])

    def _any(self, role: str) -> Node:
        return self.chance.choice([node for node in self.root.everything() if node.role == role])

    def _expect(self, question: Node | None, *more: str) -> None:
        assert question is not None
        self.expected.append([*[node.text for node in question.way() if node.text], *more])

    def _end(self, question: Node, stream: Stream, status: str, text: str) -> None:
        """Do to the tree what the end of a reply does."""
        if text:
            assert (stream.finish()["status"], stream.text) == (status, text)
        else:
            assert stream.status == 503, stream.json
        ids = stream.json if not text else {}
        question.id = question.id or ids.get("user_message_id") or stream.headers["X-User-Message-Id"]
        before = question.chosen
        had_text = before is not None and bool(before.text)
        answer = question.add(text, "assistant", ids.get("message_id") or stream.message_id, status)
        if not had_text or (text and status in ("complete", "stopped")):
            question.chosen = answer
        if not any(other.text for other in question.below) and (left := self._left_for(question)):
            # The model has answered nothing to this version. What followed an earlier void answer is still remembered.
            question.chosen = before or answer
            left.choose()

    def _left_for(self, question: Node) -> Node | None:
        """Return the version of a question that was active before it."""
        assert question.above is not None
        beside = {node for node in question.above.below if node is not question}
        return next((node for path in reversed(self.paths) for node in path if node in beside), None)

    def check(self) -> None:
        shown = self.anywhere.conversation(self.conversation)["messages"]
        path = self.root.path()
        self.paths.append(path)
        assert [(each["id"], each["content"], each["status"]) for each in shown] == [
            (node.id, node.text, node.status) for node in path
        ]
        for each, node in zip(shown, path, strict=True):
            assert node.above is not None
            beside = [other for other in node.above.below if other.role == node.role]
            assert (each["version"], each["versions"]) == (beside.index(node) + 1, len(beside))
        assert self.given == self.expected


@pytest.mark.parametrize("seed", range(8))
def test_three_nodes_agree_with_the_tree(nodes: list[Server], upstream: ScriptedUpstream, seed: int) -> None:
    Schedule(nodes, upstream, seed).run(STEPS)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(1000, 3000))
def test_three_nodes_agree_with_the_tree_in_many_orders(nodes: list[Server], upstream: ScriptedUpstream, seed: int) -> None:
    Schedule(nodes, upstream, seed).run(STEPS)
