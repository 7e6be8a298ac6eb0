"""A process that runs what the common requests ask of PostgreSQL, without a pause and without HTTP, as pgbench does.

It reads lines from its standard input, `send 400` for example, and answers each when that is done.
"""

import random
import sys
import uuid
from collections.abc import Callable

import django

CONVERSATIONS = 60
TURNS = 5
PROSE = (
    "about after again all also always and another any are around ask away because before between both bring but call "
    "can change come could day different does down each end even every example find first follow for form found from "
    "give good great hand have help here high home house how into just keep kind know large last learn leave left letter "
    "life light line little live long look made make many mean men might more most mother move much must name near need "
    "never new next night number off often old only other our out over own page paper part people place plant point put "
    "read really right same school second see seem sentence set she should show side small some sometimes soon sound "
    "spell start state still stop story study such take talk tell than that their them then there these they thing think "
    "this those thought three through time together too tree try turn two under until use very want water way well went "
    "what when where which while white who why will with word work world would write year you young your "
)


def reply_of(words: int, rng: random.Random) -> str:
    return " ".join(rng.choices(PROSE.split(), k=words))


def main() -> None:
    django.setup()
    kinds = _kinds()
    print("ready", flush=True)
    for line in sys.stdin:
        name, count = line.split()
        for number in range(int(count)):
            kinds[name](number)
        print("done", flush=True)


def _kinds() -> dict[str, Callable[[int], object]]:
    """Make a user with 60 conversations, one of them with 10 messages, and return what asks for each kind of request."""
    # Django's modules, which need its settings.
    from django.http import QueryDict

    from chatapi.database.connections import release_connections
    from conversations.services.conversations import create_conversation, update_conversation
    from conversations.surfaces.api import queries
    from conversations.surfaces.api.responses.conversations import ConversationSchema

    user_id, rng, columns = uuid.uuid4(), random.Random(1), ConversationSchema.columns
    made = [create_conversation(("id",), user_id=user_id, title=f"Conversation {number}") for number in range(CONVERSATIONS)]
    ids = [row["id"] for row, _ in made]

    def released(work: Callable[[int], object]) -> Callable[[int], object]:
        def run(number: int) -> None:
            work(number)
            release_connections()

        return run

    for _ in range(TURNS):
        _send(ids[0], user_id, rng)
    page = QueryDict("limit=50")
    kinds: dict[str, Callable[[int], object]] = {
        "list": lambda _: queries.read_conversation_page(user_id, page, is_favorited=None, title="", offset=0),
        "get": lambda _: queries.read_conversation_and_messages(ids[0], user_id),
        "create": lambda number: create_conversation(columns, user_id=user_id, title=f"New {number}"),
        "rename": lambda number: update_conversation(
            columns, conversation_id=ids[1], user_id=user_id, changes={"title": f"Renamed {number}"}
        ),
        # To many: the history stays short.
        "send": lambda number: _send(ids[1 + number % (CONVERSATIONS - 1)], user_id, rng),
    }
    return {name: released(work) for name, work in kinds.items()}


def _send(conversation_id: uuid.UUID, user_id: uuid.UUID, rng: random.Random) -> None:
    """Save a turn and the end of its reply, of about 40 tokens."""
    from chatapi.database.connections import release_connections
    from conversations.services.replies.store import reply_store
    from conversations.services.sending.begin import send_turn
    from inference_proxy.protocols.base import Sampling
    from inference_proxy.replies.store import FinishedReply

    turn = send_turn(conversation_id=conversation_id, user_id=user_id, content="How long does tea keep?", sampling=Sampling())
    release_connections()
    reply_store.finish(
        FinishedReply(
            reply_id=turn.reply_id,
            status="complete",
            text=reply_of(30, rng),
            error_code="",
            token_count=40,
            prompt_tokens=30,
            inference_time_ms=800,
            first_token_ms=20,
            finish_reason="stop",
        )
    )


if __name__ == "__main__":
    main()
