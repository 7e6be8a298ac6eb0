"""How many connections of the pool one user's requests hold at once."""

import pytest

from chatapi.database.user_shares import user_shares


@pytest.mark.parametrize(("pool_size", "share"), [(10, 3), (1, 2), (6, 2), (30, 10)])
def test_a_user_gets_a_third_and_never_less_than_two(pool_size: int, share: int) -> None:
    shares = user_shares(pool_size)
    assert [shares.take("one") is not None for _ in range(share + 2)] == [True] * share + [False, False]
    assert shares.take("other") is not None
