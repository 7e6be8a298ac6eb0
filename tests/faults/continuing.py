"""A reply that broke off before the faults begin, and is continued again and again while they strike.

Its text is known from the start, so whatever a client sees and whatever is stored must be a beginning of it.
"""

import json
import time
from typing import TYPE_CHECKING

from tests.support.client import Client
from tests.support.exchange import Exchange, HangUp
from tests.support.steps import done, token

from .reading import BROKEN, FINAL, PASSING, PAUSE_S, Reader
from .violation import Invariant, Violation

if TYPE_CHECKING:
    from .playing import Play

# Of what is asked of the model to continue its answer.
INSTRUCTION = "Continue it exactly"
WORDS = [f"{number}wörd " for number in range(24)]
WHOLE = "".join(WORDS)
BROKE_OFF_AFTER = "".join(WORDS[:6])
PIECE_CHARACTERS = 5
PIECE_PAUSE_S = 0.08
LIMIT_S = 60.0
VICTIMS = ("worker", "database", "upstream", "proxy")


class Continuation:
    """The reply, those who read it, and what became of it."""

    def __init__(self, play: "Play") -> None:
        self._play = play
        self._readers: list[Reader] = []
        self._complaints: list[Violation] = []
        self._prompt = f"schedule {play.schedule.seed} breaks off"
        play.cluster.upstream.script(_say, when=self._prompt)
        play.cluster.upstream.script(_say, when=INSTRUCTION)
        self._conversation = play.user.create_conversation()
        reply = play.user.send(self._conversation, self._prompt)
        assert reply.finish()["status"] == "failed"
        self.reply_id = reply.message_id

    def play(self) -> None:
        """Continue the reply, at one node and the next, until it is whole."""
        users = [self._play.user.at(port) for port in self._play.cluster.ports]
        give_up_at = time.monotonic() + LIMIT_S
        while time.monotonic() < give_up_at:
            try:
                message = users[0].message(self._conversation, self.reply_id)
                if message["status"] == "complete":
                    return
                if message["status"] == "streaming" or self._has_begun(users[0]):
                    self._read(message["content"], [user.port for user in users])
            except BROKEN:
                pass
            users.append(users.pop(0))
            time.sleep(PAUSE_S)
        self._complaints.append(Violation(Invariant.GOES_ON, f"reply {self.reply_id} was not whole after {LIMIT_S:.0f} s"))

    def _has_begun(self, user: Client) -> bool:
        path = f"/api/conversations/{self._conversation}/messages/{self.reply_id}/continue"
        answer = user.request("POST", path, {}, {"Prefer": "respond-async"})
        if answer.status == 202:
            return True
        # An attempt whose answer was lost may have made the reply whole. A request that finds no memory fails.
        expected = {*PASSING, "not_continuable", *(["internal_error"] if self._play.has_taken_memory else [])}
        if answer.json["code"] not in expected and not answer.json["code"].startswith("upstream_"):
            told = f"a reply could not be continued: {answer.status} {json.dumps(answer.json)[:200]}"
            self._complaints.append(Violation(Invariant.EXPECTED, told))
        return False

    def _read(self, begun: str, ports: list[int]) -> None:
        reader = Reader(self._play.user, ports, self._conversation, message_id=self.reply_id)
        reader.text = begun
        self._readers.append(reader)
        reader.read(reader.follow)

    def violations(self) -> list[Violation]:
        """Say what does not hold of the reply, when the service has come to rest."""
        found = [*self._complaints, *(complaint for reader in self._readers for complaint in reader.complaints)]
        rows = self._play.cluster.rows("SELECT status, content FROM messages WHERE id = %s", self.reply_id)
        if len(rows) != 1:
            return [*found, Violation(Invariant.SHOWN, f"reply {self.reply_id}, which was continued, is not stored")]
        ((status, content),) = rows
        if (status, content) != ("complete", WHOLE):
            found.append(Violation(Invariant.WHAT_THE_MODEL_SAID, f"a continued reply is {status}: {content!r}"))
        for reader in self._readers:
            told = reader.end["status"] if reader.end else None
            if not WHOLE.startswith(reader.text) or (told == "complete" and reader.text != WHOLE):
                seen = f"a client was told {told} after {reader.text!r} of a continued reply"
                found.append(Violation(Invariant.SHOWN, seen))
            if told not in (*FINAL, None) and not self._play.may_interrupt:
                found.append(Violation(Invariant.GUESS, f"a client was told that a continued reply is {told}"))
        calls = self._play.cluster.upstream.generations(INSTRUCTION)
        if len(calls) != 1 and not self._play.was_hit(*VICTIMS):
            found.append(Violation(Invariant.ONE_CALL, f"{len(calls)} calls of the inference service to continue one reply"))
        return found


def _say(exchange: Exchange) -> None:
    """Say the beginning and break off; to continue it, say the rest."""
    *_, before, newest = exchange.call.messages if len(exchange.call.messages) > 1 else [{}, *exchange.call.messages]
    if INSTRUCTION not in newest["content"]:
        token(BROKE_OFF_AFTER)(exchange)
        raise HangUp
    rest = WHOLE.removeprefix(before["content"])
    for begin in range(0, len(rest), PIECE_CHARACTERS):
        token(rest[begin : begin + PIECE_CHARACTERS])(exchange)
        exchange.wait(timeout_s=PIECE_PAUSE_S)
    done()(exchange)
