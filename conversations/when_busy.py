"""What a client wants to happen to a running reply when it sends."""

from typing import Literal

WhenBusy = Literal["reject", "interrupt", "enqueue"]
# Where a message can't wait: only a send of the primary surface can.
NoWaiting = Literal["reject", "interrupt"]
