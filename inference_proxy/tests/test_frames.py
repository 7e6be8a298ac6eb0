"""Cursors, and the frames of pieces that are read from a row."""

import json

import pytest

from inference_proxy.replies.frames import MAX_OFFSET, Cursor, cursor_of, frames_behind, is_reasoning, reasoning_payload


@pytest.mark.parametrize(
    ("cursor", "form"),
    [
        (Cursor(), "0"),
        (Cursor(5), "5"),
        (Cursor(0, 7), "0-7"),
        (Cursor(5, 0, 2), "5-0-2"),
        (Cursor(MAX_OFFSET, MAX_OFFSET), None),
    ],
)
def test_a_cursor_is_its_form(cursor: Cursor, form: str | None) -> None:
    assert form in (None, str(cursor))
    assert Cursor.parse(str(cursor)) == cursor


def test_a_cursor_without_reasoning_may_say_so() -> None:
    assert Cursor.parse("5-0") == Cursor(5)


@pytest.mark.parametrize(
    "form",
    [
        "",
        "-",
        "5-",
        "-5",
        "5-6-777",
        "5-6-7-8",
        "x",
        "5-x",
        "+5",
        " 5",
        "5\n",
        "٥",
        "1.5",
        str(MAX_OFFSET + 1),
        f"5-{MAX_OFFSET + 1}",
        "9" * 11,
    ],
)
def test_what_is_no_cursor(form: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        Cursor.parse(form)


def test_one_cursor_covers_another_where_it_has_as_much_of_both() -> None:
    assert Cursor(5, 7).covers(Cursor(5, 7))
    assert Cursor(6, 7).covers(Cursor(5, 7))
    assert not Cursor(6, 6).covers(Cursor(5, 7))
    assert Cursor(6, 6).joined(Cursor(5, 7)) == Cursor(6, 7)


def test_pieces_of_a_row_are_frames_with_the_reasoning_first() -> None:
    frames = frames_behind(Cursor(2), reasoning="hé🎈", text="t")
    assert [(str(event_id), json.loads(payload)) for event_id, payload in frames] == [
        ("2-3", {"reasoning": "hé🎈"}),
        ("3-3", {"token": "t"}),
    ]
    assert frames_behind(Cursor(2), reasoning="", text="t") == [(3, b'{"token":"t"}')]
    assert frames_behind(Cursor(2), reasoning="", text="") == []


def test_the_ids_of_the_end_are_no_cursors() -> None:
    assert [cursor_of(event_id) for event_id in (None, "done", 4, Cursor(4, 2))] == [None, None, Cursor(4), Cursor(4, 2)]


def test_a_piece_of_reasoning_is_known_by_its_payload() -> None:
    assert is_reasoning(reasoning_payload("x"))
    assert not is_reasoning(b'{"token":"{\\"reasoning\\":"}')
