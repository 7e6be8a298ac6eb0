"""How long the inference service asks to wait."""

import time

import pytest

from inference_proxy.upstream.retry_after import MOST_S, read_retry_after

NOW = 1_445_412_480.0


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("0", 1),
        ("0.2", 1),
        ("1.5", 2),
        ("999999999", MOST_S),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30),
        ("Wednesday, 21-Oct-15 07:28:30 GMT", 30),
        ("Wed, 21 Oct 2015 07:00:00 GMT", 1),
        ("Wed, 21 Oct 2099 07:00:00 GMT", MOST_S),
        ("Wed, 99 Oct 2015 07:00:00 GMT", None),
        ("Wed, 21 Oct 9999 23:59:59 -2359", MOST_S),
        ("", None),
        ("-5", None),
        ("1e9", None),
        ("nan", None),
        ("\u0665", None),
        ("9" * 5_000, None),
        ("soon", None),
        ("Wed, " * 5_000, None),
    ],
    ids=lambda value: str(value)[:32],
)
def test_what_is_said(monkeypatch: pytest.MonkeyPatch, said: str, wait_s: int | None) -> None:
    monkeypatch.setattr("inference_proxy.upstream.retry_after.time.time", lambda: NOW)
    assert time.gmtime(NOW)[:6] == (2015, 10, 21, 7, 28, 0)
    assert read_retry_after(said) == wait_s
