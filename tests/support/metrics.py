"""Read a server's `/metrics`."""

import http.client
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from devstack.folder import PROJECT

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian's prometheus) is not installed")
# The rules' tests take 12 s of processor time, for which they wait on a busy machine.
PROMTOOL_LIMIT_S = 300


@dataclass(frozen=True)
class Page:
    """An answer of `/metrics` or of anything else at its port."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels; 0 if there are none."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def names(self) -> set[str]:
        return {sample.name for family in text_string_to_metric_families(self.text) for sample in family.samples}

    def labels(self) -> set[tuple[str, str]]:
        families = text_string_to_metric_families(self.text)
        return {label for family in families for sample in family.samples for label in sample.labels.items()}


def get_page(port: int, path: str = "/metrics", method: str = "GET", **headers: str) -> Page:
    """Ask on a connection of its own, so that any worker may answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return Page(answer.status, answer.headers, answer.read().decode())
    finally:
        connection.close()


def promtool(*arguments: str, text: str = "", folder: Path = PROJECT) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["promtool", *arguments], input=text, cwd=folder, capture_output=True, text=True, check=False, timeout=PROMTOOL_LIMIT_S
    )
