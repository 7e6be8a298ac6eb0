"""docs/security.md names a test for each threat; those tests must exist."""

import ast
import re

import pytest

from devstack.folder import PROJECT

PAGE = (PROJECT / "docs" / "security.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| who ", "| --- "))]


@pytest.mark.parametrize("row", ROWS)
def test_each_threat_names_a_test_that_exists(row: str) -> None:
    cells = [cell.strip() for cell in row.strip("|").split(" | ")]
    assert len(cells) == 3 and all(cells), cells
    named = re.fullmatch(r"`([\w/]+\.py)::(test_\w+)`", cells[2])
    assert named, f"no test: {cells[2]}"
    file, name = named.groups()
    functions = [node.name for node in ast.parse((PROJECT / file).read_text()).body if isinstance(node, ast.FunctionDef)]
    assert name in functions


def test_the_page_has_threats() -> None:
    assert len(ROWS) > 30
