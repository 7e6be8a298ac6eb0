"""The replies of one process together."""

from typing import Any

import pytest

from inference_proxy.replies import live as live_module
from inference_proxy.replies.live import CROWDED_PAUSE_S, LiveReplies


@pytest.mark.parametrize(("wakeups", "is_crowded", "pause_s"), [(100, False, 0.03), (100, True, CROWDED_PAUSE_S), (0, True, 0)])
def test_readers_rest_longer_while_requests_wait(
    settings: Any, monkeypatch: pytest.MonkeyPatch, wakeups: int, is_crowded: bool, pause_s: float
) -> None:
    settings.WAKEUPS_PER_SECOND = wakeups
    replies = LiveReplies(None)  # type: ignore[arg-type]
    replies._running = dict.fromkeys(range(3))  # type: ignore[arg-type]
    monkeypatch.setattr(live_module, "do_requests_wait", lambda: is_crowded)
    assert replies._pause_s() == pause_s
