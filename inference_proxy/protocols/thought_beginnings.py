"""Which models begin inside their thought, as their replies show: the closing tag comes, and no opening one.

The templates of DeepSeek-R1 and Qwen put the opening tag into the prompt, so only its end is in the reply. What has been
relayed as text stays text: clients have it, and their cursors count it. So a reply can only teach how to read the next ones.

Principle: no single reply decides. A user can have a model write any tag. So several whole replies in a row must agree, and the
first one that has no end of a thought takes it back. That one loses nothing: a thought without an end is also its text.
"""

import logging
from collections.abc import Mapping

from inference_proxy.protocols.think_tags import closes_alone

logger = logging.getLogger(__name__)

REPLIES_IN_A_ROW = 3
# The models of which something is remembered, at most.
MOST_MODELS = 1_000


class ThoughtBeginnings:
    """What this process has seen, per model."""

    def __init__(self) -> None:
        # How many replies in a row closed a thought that they had not opened.
        self._counts: dict[str, int] = {}

    def is_inside(self, model: str) -> bool:
        """Whether the replies of this model begin inside the thought."""
        return self._counts.get(model, 0) >= REPLIES_IN_A_ROW

    def note(self, model: str, *, text: str, reasoning: str, pairs: Mapping[str, tuple[str, ...]]) -> None:
        """Learn from a whole reply of this model."""
        if self.is_inside(model):
            # Without an end, the thought is the text.
            if not reasoning or reasoning.strip() == text.strip():
                self._counts.pop(model, None)
            return
        if reasoning or not closes_alone(text, pairs):
            self._counts.pop(model, None)
            return
        if len(self._counts) >= MOST_MODELS:
            self._counts.clear()
        self._counts[model] = self._counts.get(model, 0) + 1
        if self.is_inside(model):
            logger.warning(
                "replies of this model begin inside their thought, and are now read so: name it in INFERENCE_THINK_INSIDE",
                extra={"model": model},
            )

    def clear(self) -> None:
        self._counts.clear()


thought_beginnings = ThoughtBeginnings()
