import pytest

from benchmarks.capacity import largest_that


@pytest.mark.parametrize("limit", [0, 50, 399, 400, 401, 1234, 5000])
def test_the_search_finds_the_largest_number_that_works(limit: int) -> None:
    tried: list[int] = []

    def works(number: int) -> bool:
        tried.append(number)
        return number <= limit

    assert largest_that(works, first=400, step=100) == limit // 100 * 100
    assert len(tried) == len(set(tried))
    assert len(tried) <= 12
