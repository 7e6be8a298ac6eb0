"""The deliberate defects: each still changes the service, and the suite notices. `make faults-power` tries them all."""

import pytest

from devstack.folder import PROJECT

from .defects import DEFECTS
from .run import running_suite
from .violation import Invariant

pytestmark = pytest.mark.slow
PAGE = (PROJECT / "docs" / "guarantees.md").read_text()


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_finds_what_it_changes(name: str) -> None:
    """Making the changes fails where a name or a piece of SQL is gone; here they are not put into effect."""
    changes = DEFECTS[name].changes()
    assert changes
    for change in changes:
        assert getattr(change.owner, change.name) != change.value


@pytest.mark.parametrize(
    ("name", "seed", "invariant"),
    [
        ("done-before-commit", 0, Invariant.SAVED),
        pytest.param("retry-doubles-message", 0, Invariant.ONE_QUESTION, marks=pytest.mark.exhaustive),
        pytest.param("checkpoint-shortens", 0, Invariant.GROWS, marks=pytest.mark.exhaustive),
    ],
)
def test_the_suite_finds_a_defect(name: str, seed: int, invariant: Invariant) -> None:
    with running_suite(name) as suite:
        assert invariant in {violation.invariant for violation in suite.play(seed)}


def test_the_documentation_tells_for_every_defect_how_it_is_found() -> None:
    table = PAGE.split("## What the fault suite can find")[1]
    for name, defect in DEFECTS.items():
        assert f"| {defect.summary} (`{name}`) |" in table, "the table is made by: make faults-power"
