"""Fair shares of the places for answers that their clients have not read."""

from types import SimpleNamespace

from django.http import HttpRequest, HttpResponse

from chatapi.incoming.unread_responses import LARGE_RESPONSE_BYTES, PLACES, PLACES_PER_USER, UnreadResponsesMiddleware


def large_answer(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"x" * (LARGE_RESPONSE_BYTES + 1))


def ask(answers: UnreadResponsesMiddleware, user: str) -> HttpResponse:
    request = HttpRequest()
    request.user = SimpleNamespace(pk=user)  # type: ignore[assignment]
    response = answers(request)
    assert isinstance(response, HttpResponse)
    return response


def test_eight_readers_leave_places_for_the_ninth() -> None:
    answers = UnreadResponsesMiddleware(large_answer)
    for _ in range(PLACES_PER_USER):
        for number in range(8):
            ask(answers, f"greedy-{number}")
    assert [ask(answers, f"other-{number}").status_code for number in range(8)] == [200] * 8


def test_everyone_gets_one_while_any_is_free_and_then_nobody() -> None:
    answers = UnreadResponsesMiddleware(large_answer)
    statuses = [ask(answers, f"reader-{number}").status_code for number in range(PLACES + 1)]
    assert statuses == [200] * PLACES + [429]


def test_a_read_answer_gives_its_place_back() -> None:
    answers = UnreadResponsesMiddleware(large_answer)
    held = []
    while (response := ask(answers, "reader")).status_code == 200:
        held.append(response)
    assert 1 < len(held) <= PLACES_PER_USER
    held.pop().close()
    assert ask(answers, "reader").status_code == 200
