"""How many tokens a reply has, whatever the service says of it."""

import pytest

from inference_proxy.replies.account import MOST_TOKENS, plausible_count


@pytest.mark.parametrize(
    ("counted", "frames", "characters", "max_tokens", "tokens"),
    [
        (5, 4, 20, 100, 5),
        # Uncounted, or counted as nothing.
        (None, 4, 20, 100, 4),
        (0, 4, 20, 100, 4),
        # Less than the text can have, and more than the model was allowed to write.
        (1, 400, 12_800, None, 100),
        (2**31 - 1, 4, 20, 100, 100),
        (2**31 - 1, 4, 20, None, MOST_TOKENS),
        # The service went beyond `max_tokens`.
        (150, 150, 600, 100, 150),
        # Thoughts that it keeps to itself.
        (900, 4, 20, 1_000, 900),
    ],
)
def test_a_count_fits_its_reply(counted: int | None, frames: int, characters: int, max_tokens: int | None, tokens: int) -> None:
    assert plausible_count(counted, frames=frames, characters=characters, max_tokens=max_tokens) == tokens
