"""The alerts and the dashboard name metrics that the service exports, and each alert is tested and explained."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.folder import PROJECT
from devstack.processes import free_port
from tests.conftest import StartServer
from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.metrics import get_page, needs_promtool, promtool
from tests.support.steps import hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

PROMETHEUS = PROJECT / "deploy" / "prometheus"
ALERTS = (PROMETHEUS / "alerts.yml").read_text()
ALERT_TESTS = (PROMETHEUS / "alerts_test.yml").read_text()
DASHBOARD = (PROJECT / "deploy" / "grafana" / "dashboard.json").read_text()
METRIC = re.compile(r"\bchat_[a-z0-9_]+")


@pytest.fixture(scope="module")
def exported(new_server: StartServer, upstream_of_session: ScriptedUpstream) -> Iterator[set[str]]:
    """The names that a server exports after one stopped reply."""
    port = free_port()
    gate = upstream_of_session.gate()
    upstream_of_session.script(tokens("some text"), hold(gate), when="alert me")
    with new_server(METRICS_PORT=str(port)) as server:
        client = Client(server.port, make_token())
        conversation = client.create_conversation()
        stream = client.send(conversation, "alert me")
        stream.read_until("some text")
        client.stop(conversation)
        stream.finish()
        client.close()
        wait_until(lambda: "chat_database_connections_waiting" in get_page(port).names(), "the gauges were read")
        yield get_page(port).names()


@pytest.mark.parametrize("source", [ALERTS, ALERT_TESTS, DASHBOARD], ids=["alerts", "their tests", "dashboard"])
def test_every_metric_is_exported(source: str, exported: set[str]) -> None:
    named = set(METRIC.findall(source))
    assert len(named) > 10
    assert named - exported == set()


def test_the_dashboard_shows_every_metric(exported: set[str]) -> None:
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported}
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in METRIC.findall(DASHBOARD)}
    assert families - shown == set()


def test_the_page_describes_every_metric(exported: set[str]) -> None:
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported}
    described = set(METRIC.findall((PROJECT / "docs" / "operating.md").read_text()))
    assert families - described == set()


def test_every_alert_is_tested_and_explained() -> None:
    alerts = re.findall(r"- alert: (\w+)", ALERTS)
    operating = (PROJECT / "docs" / "operating.md").read_text()
    assert len(alerts) > 10
    assert re.findall(r"^### (Chat\w+)$", operating, re.MULTILINE) == alerts
    assert set(re.findall(r"alertname: (\w+)", ALERT_TESTS)) == set(alerts)


def test_the_dashboards_panels_are_whole() -> None:
    panels = json.loads(DASHBOARD)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(target["expr"] and panel["title"] for panel in panels for target in panel["targets"])


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")],
    ids=" ".join,
)
def test_promtool_accepts_the_files(arguments: tuple[str, ...]) -> None:
    result = promtool(*arguments, folder=PROMETHEUS)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
def test_promtool_understands_the_dashboards_queries(tmp_path: Path) -> None:
    expressions = [target["expr"] for panel in json.loads(DASHBOARD)["panels"] for target in panel["targets"]]
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(expressions)
    ]
    # YAML reads JSON.
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    result = promtool("check", "rules", str(file))
    assert result.returncode == 0, result.stdout + result.stderr
