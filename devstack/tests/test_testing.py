"""The order in which files of tests are handed to the processes of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from devstack.testing import pytest_collection_modifyitems


@dataclass
class Item:
    """A collected test, as far as the order depends on it."""

    path: Path
    is_slow: bool = False

    def get_closest_marker(self, name: str) -> Any:
        return pytest.mark.slow if self.is_slow and name == "slow" else None


def test_files_with_slow_tests_come_first_and_keep_their_order() -> None:
    quick, mixed = Path("test_quick.py"), Path("test_mixed.py")
    items = [Item(quick), Item(mixed), Item(quick), Item(mixed, is_slow=True)]
    expected = [items[1], items[3], items[0], items[2]]
    pytest_collection_modifyitems(cast("list[pytest.Item]", items))
    assert all(item is other for item, other in zip(items, expected, strict=True))
