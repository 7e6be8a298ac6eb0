"""What a client wants to happen to a running reply when it sends."""

from typing import Literal

WhenBusy = Literal["reject", "interrupt", "enqueue"]
