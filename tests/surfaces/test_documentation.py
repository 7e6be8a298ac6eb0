"""The examples of docs/surfaces.md do what they say."""

import os
import re
import subprocess
from itertools import pairwise

from devstack.folder import PROJECT
from tests.support.client import Client
from tests.support.server import Server
from tests.surfaces.conftest import MakeAssistant

BLOCK = re.compile(r"^```(bash|answer)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SEPARATOR = "\n--- the next example ---\n"


def as_pattern(answer: str) -> str:
    return ".*?".join(re.escape(part) for part in answer.strip().split("…"))


def test_every_example_answers_as_it_says(service: Server, client: Client, make_assistant: MakeAssistant) -> None:
    make_assistant(public=True)
    blocks = BLOCK.findall((PROJECT / "docs" / "surfaces.md").read_text())
    assert not [pair for pair in pairwise(kind for kind, _ in blocks) if pair == ("answer", "answer")]
    examples = [(text, following) for (kind, text), (next_kind, following) in pairwise(blocks) if next_kind == "answer"]
    preparation = [text for (kind, text), (next_kind, _) in pairwise(blocks) if (kind, next_kind) == ("bash", "bash")]
    assert len(preparation) == 1
    assert len(examples) > 10
    script = "set -eu\n" + preparation[0] + "".join(f"{text}\nprintf '%s' '{SEPARATOR}'\n" for text, _ in examples)
    environment = {**os.environ, "BASE": f"http://127.0.0.1:{service.port}", "TOKEN": client.token or ""}
    result = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    outputs = result.stdout.split(SEPARATOR)
    for (text, expected), output in zip(examples, outputs[:-1], strict=True):
        # Lines that curl leaves unended run into the next; what was said is compared, not how it was laid out.
        said, wanted = re.sub(r"\s+", " ", output), re.sub(r"\s+", " ", expected)
        assert re.fullmatch(as_pattern(wanted).replace(r"\ ", r"\s*"), said.strip()), f"{text}\nsaid\n{output}\nnot\n{expected}"
