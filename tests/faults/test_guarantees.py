"""docs/guarantees.md names the test that holds each sentence; those tests must exist."""

import ast
import re

import pytest

from devstack.folder import PROJECT

PAGE = (PROJECT / "docs" / "guarantees.md").read_text()
NAMED = re.findall(r"^`((?:\w+/)?tests/\S+\.py)::(\w+)`$", PAGE, re.MULTILINE)
NAMED += [(f"tests/nodes/{file}", name) for file, name in re.findall(r"`(test_\w+\.py)::(\w+)` \|$", PAGE, re.MULTILINE)]


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_named_test_exists(file: str, name: str) -> None:
    functions = [node.name for node in ast.parse((PROJECT / file).read_text()).body if isinstance(node, ast.FunctionDef)]
    assert name in functions


def test_every_sentence_of_the_promise_names_its_tests() -> None:
    promise = PAGE.split("## Limits")[0].split("\n## ", 1)[1]
    paragraphs = [part for part in promise.split("\n\n")[1:] if part and not part.startswith("## ")]
    assert paragraphs
    for paragraph in paragraphs:
        assert re.search(r"^`(?:\w+/)?tests/", paragraph, re.MULTILINE), f"no test holds: {paragraph}"
