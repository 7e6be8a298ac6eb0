"""deploy/ agrees with the service: variables and commands exist, probes are answered, replies have time to end."""

import configparser
import copy
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import kubernetes_validate
import psycopg
import pytest
import yaml

from devstack.folder import PROJECT
from devstack.lock import read_lock, read_requirements
from devstack.postgres import programs_folder
from tests.support.client import Client
from tests.support.database import manage
from tests.support.nginx import CONFIGURATION
from tests.support.server import Server

DEPLOY = PROJECT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
MANIFESTS = [
    manifest
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for manifest in yaml.safe_load_all(path.read_text())
    if manifest["kind"] != "Kustomization"
]
DOCUMENTED = set(re.findall(r"`([A-Z_0-9]+)`", (PROJECT / "docs" / "configuration.md").read_text()))
GRACEFUL_TIMEOUT_S = 30
# Of the images of PostgreSQL and the stand-ins, and of the compose file itself.
NOT_OURS = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "DEVSTACK_DIR", "HTTP_PORT"}
NOT_OURS |= {"POSTGRES_SUPERUSER_PASSWORD", "CHAT_PASSWORD", "VALKEY_PASSWORD", "REDISCLI_AUTH"}


def kinds(kind: str) -> list[dict[str, Any]]:
    return [manifest for manifest in MANIFESTS if manifest["kind"] == kind]


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    spec = manifest["spec"]
    template = (spec["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else spec)["template"]
    return dict(template["spec"])


def unit(name: str) -> configparser.SectionProxy:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read(DEPLOY / "systemd" / name)
    return parser["Service"]


WORKLOADS = [manifest for manifest in MANIFESTS if manifest["kind"] in ("Deployment", "Job", "CronJob")]
(DEPLOYMENT,) = kinds("Deployment")
(SERVER,) = pod_of(DEPLOYMENT)["containers"]


def commands() -> Iterator[list[str]]:
    """List the arguments of every manage.py in deploy/."""
    lists = [pod_of(workload)["containers"][0].get("command", []) for workload in WORKLOADS]
    lists += [service.get("command", []) for service in COMPOSE["services"].values()]
    lists += [line.split() for line in (DEPLOY / "systemd" / "chat-api-prune.service").read_text().splitlines()]
    for words in lists:
        if "manage.py" in words:
            yield words[words.index("manage.py") + 1 :]


def test_every_command_runs(database_url: str) -> None:
    found = {tuple(words) for words in commands()}
    assert {words[0] for words in found} == {"clearsessions", "migrate", "prune_history"}
    for words in sorted(found):
        manage(database_url, *words)


def test_every_variable_is_documented() -> None:
    named = {name for service in COMPOSE["services"].values() for name in service.get("environment", {})}
    named |= set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    named |= set(re.findall(r"^(\w+)=", (DEPLOY / "example.env").read_text(), re.MULTILINE))
    # The example of /etc/chat-api.env.
    page = set(re.findall(r"^([A-Z_]+)=\S", (PROJECT / "docs" / "deploying.md").read_text(), re.MULTILINE))
    assert "TRUSTED_PROXIES" in page
    named |= page
    for settings in kinds("ConfigMap"):
        named |= set(settings["data"])
    assert named
    assert named - NOT_OURS <= DOCUMENTED


def test_compose_demands_every_secret_that_the_example_leaves_empty() -> None:
    empty = set(re.findall(r"^(\w+)=$", (DEPLOY / "example.env").read_text(), re.MULTILINE))
    assert empty == set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))


def test_probes_are_answered_under_any_host_name(new_server: Callable[..., Server]) -> None:
    probes = [SERVER[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert {probe["port"] for probe in probes} == {"http"}
    with new_server(ALLOWED_HOSTS="chat.example.org") as server:
        for probe in probes:
            answer = Client(server.port, None).request("GET", probe["path"], headers={"Host": "10.1.2.3:8002"})
            assert answer.status == 200, probe


def test_everything_waits_longer_than_the_server_takes_to_end() -> None:
    pause = int(SERVER["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod_of(DEPLOYMENT)["terminationGracePeriodSeconds"] > pause + GRACEFUL_TIMEOUT_S
    for name in ("chat-1", "chat-2"):
        assert int(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s")) > GRACEFUL_TIMEOUT_S
    assert int(unit("chat-api.service")["TimeoutStopSec"]) > GRACEFUL_TIMEOUT_S
    assert f"\ngraceful_timeout = {GRACEFUL_TIMEOUT_S}\n" in (PROJECT / "gunicorn.conf.py").read_text()


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: str(workload["metadata"]))
def test_pods_run_without_rights(workload: dict[str, Any]) -> None:
    pod = pod_of(workload)
    (container,) = pod["containers"]
    assert (pod["securityContext"]["runAsNonRoot"], pod["automountServiceAccountToken"]) == (True, False)
    assert f"--uid {pod['securityContext']['runAsUser']} " in (PROJECT / "Dockerfile").read_text()
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}


def test_the_parts_of_the_manifests_name_each_other() -> None:
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    (service,), (budget,), (scaler,) = kinds("Service"), kinds("PodDisruptionBudget"), kinds("HorizontalPodAutoscaler")
    assert service["spec"]["selector"] == budget["spec"]["selector"]["matchLabels"] == labels
    ports = {port["name"]: port["containerPort"] for port in SERVER["ports"]}
    assert service["spec"]["ports"][0]["targetPort"] in ports
    assert str(ports["metrics"]) == kinds("ConfigMap")[0]["data"]["METRICS_PORT"]
    (metric,) = scaler["spec"]["metrics"]
    assert (
        f'"{metric["pods"]["metric"]["name"]}"'
        in (PROJECT / "conversations" / "services" / "replies" / "figures.py").read_text()
    )
    listed = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())["resources"]
    files = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")}
    assert {*listed, "migrate.yaml", "kustomization.yaml"} == files


def test_the_compose_file_and_nginx_name_the_same_nodes() -> None:
    services = COMPOSE["services"]
    nodes = re.findall(r"^    server (\S+):8002 ", CONFIGURATION.read_text(), re.MULTILINE)
    assert set(nodes) == {name for name in services if name.startswith("chat-")}
    address = services["nginx"]["networks"]["default"]["ipv4_address"]
    assert {services[name]["environment"]["TRUSTED_PROXIES"] for name in nodes} == {address}
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]


def test_the_stand_ins_have_the_package_that_they_need() -> None:
    (package,) = re.findall(r"pip install --no-cache-dir (\S+)", (DEPLOY / "compose.yaml").read_text())
    assert f"\n{package} " in (PROJECT / "requirements.txt").read_text()


# autoscaling/v2 is in all of them; the newest one is the newest that the package knows.
@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
def test_kubernetes_knows_every_field_of_the_manifests(version: str) -> None:
    for manifest in MANIFESTS:
        kubernetes_validate.validate(manifest, version, strict=True)
    misspelt = copy.deepcopy(DEPLOYMENT)
    misspelt["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        kubernetes_validate.validate(misspelt, version, strict=True)


def test_compose_knows_every_field_of_its_file() -> None:
    schema = json.loads((resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    jsonschema.validate(COMPOSE, schema)
    misspelt = copy.deepcopy(COMPOSE)
    misspelt["services"]["nginx"]["healtcheck"] = {}
    with pytest.raises(jsonschema.ValidationError, match="healtcheck"):
        jsonschema.validate(misspelt, schema)


def test_docker_compose_accepts_the_file() -> None:
    program = shutil.which("docker-compose") or shutil.which("docker")
    if program is None:
        pytest.skip("Docker Compose is not installed")
    command = [program, *(["compose"] if program.endswith("docker") else []), "--file", str(DEPLOY / "compose.yaml")]
    version = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False).stdout.split(".")
    if [int(part) for part in version[:2] if part.isdigit()] < [2, 23]:
        pytest.skip("Docker Compose 2.23 or newer is not installed")
    names = re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text())
    secrets = dict.fromkeys(names, "only-for-checks")
    arguments = ["--profile", "dev", "config", "--quiet"]
    checked = subprocess.run([*command, *arguments], env={**os.environ, **secrets}, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_commands_of_an_operator_run_as_the_service_does() -> None:
    script = (DEPLOY / "chat-api-manage").read_text()
    service = unit("chat-api.service")
    assert f"--uid {service['User']} " in script
    assert f"--working-directory {service['WorkingDirectory']} " in script
    assert f"--property EnvironmentFile={service['EnvironmentFile']} " in script
    assert f'{Path(service["ExecStart"].split()[0]).parent}/python manage.py "$@"' in script
    assert (DEPLOY / "chat-api-manage").stat().st_mode & 0o111 == 0o111


def test_kustomize_accepts_the_manifests() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    built = subprocess.run([kubectl, "kustomize", DEPLOY / "kubernetes"], capture_output=True, text=True, check=True)
    images = {
        pod_of(item)["containers"][0]["image"]
        for item in yaml.safe_load_all(built.stdout)
        if item["kind"] in ("Deployment", "CronJob")
    }
    assert images == {"registry.example.org/chat-api:1"}


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    for path in (DEPLOY / "systemd").iterdir():
        # It wants programs and users that exist on this machine.
        text = re.sub(r"/srv/chat-api/\.venv/bin/\w+", "/bin/true", path.read_text()).replace("User=chat", "User=root")
        (tmp_path / path.name).write_text(text)
    checked = subprocess.run([analyze, "verify", *sorted(tmp_path.iterdir())], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_every_container_runs_without_needless_rights_and_rotates_its_log() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"max-size", "max-file"} <= set(service["logging"]["options"]), name


def test_the_first_start_of_postgresql_makes_a_role_without_rights(database_url: str, tmp_path: Path) -> None:
    folder = COMPOSE["services"]["postgres"]["volumes"][1].split(":")[0]
    text = (DEPLOY / folder).read_text().replace("--username postgres --dbname postgres", f"--dbname '{database_url}'")
    text = text.replace("ROLE chat", "ROLE deployed").replace("DATABASE chat OWNER chat", "DATABASE deployed OWNER deployed")
    (tmp_path / "make-role.sh").write_text(text)
    environment = {**os.environ, "CHAT_PASSWORD": "it's secret", "PATH": f"{programs_folder()}:{os.environ['PATH']}"}
    subprocess.run(["sh", str(tmp_path / "make-role.sh")], env=environment, check=True, timeout=30)
    with psycopg.connect(database_url, autocommit=True) as connection:
        rights = "rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolcanlogin"
        row = connection.execute(f"SELECT {rights} FROM pg_roles WHERE rolname = 'deployed'").fetchone()
        assert row == (False, False, False, False, True)
        connection.execute("DROP DATABASE deployed")
        connection.execute("DROP ROLE deployed")


def test_valkey_reads_its_password_from_standard_input() -> None:
    command = COMPOSE["services"]["valkey"]["command"]
    assert "requirepass" in command[-1] and "valkey-server - " in command[-1]
    assert "VALKEY_PASSWORD" not in " ".join(command)


def test_nginx_of_compose_carries_the_streams_of_the_capacity_page() -> None:
    mounted = dict(volume.split(":")[:2] for volume in COMPOSE["services"]["nginx"]["volumes"])
    main = (DEPLOY / "nginx" / "nginx.conf").read_text()
    assert mounted["./nginx/nginx.conf"] == "/etc/nginx/nginx.conf"
    (connections,) = map(int, re.findall(r"worker_connections (\d+);", main))
    (descriptors,) = map(int, re.findall(r"worker_rlimit_nofile (\d+);", main))
    assert connections >= 2 * 4000 and descriptors >= 2 * connections


def test_neither_the_ingress_nor_the_gateway_publishes_the_admin() -> None:
    (ingress,) = kinds("Ingress")
    public = {path["path"] for path in ingress["spec"]["rules"][0]["http"]["paths"]}
    gateway, route = yaml.safe_load_all((DEPLOY / "kubernetes" / "gateway" / "gateway.yaml").read_text())
    assert {match["path"]["value"] for match in route["spec"]["rules"][0]["matches"]} == public
    assert public >= {"/api", "/v1", "/conversations", "/conversation", "/health"}
    assert not [path for path in public if "/admin".startswith(path) or "/metrics".startswith(path)]
    assert route["spec"]["parentRefs"] == [{"name": gateway["metadata"]["name"]}]
    assert route["spec"]["rules"][0]["backendRefs"][0]["name"] == kinds("Service")[0]["metadata"]["name"]


def test_only_prometheus_reaches_the_metrics_port() -> None:
    (policy,) = kinds("NetworkPolicy")
    assert policy["spec"]["podSelector"]["matchLabels"] == DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    sources = {rule["ports"][0]["port"]: rule.get("from") for rule in policy["spec"]["ingress"]}
    ports = {port["name"]: port["containerPort"] for port in SERVER["ports"]}
    assert set(sources) == set(ports.values())
    assert sources[ports["metrics"]] and not sources[ports["http"]]


def test_the_units_have_the_same_limits() -> None:
    server, pruning = unit("chat-api.service"), unit("chat-api-prune.service")
    assert "MemoryMax" in server and "MemoryMax" in pruning
    for name in ("NoNewPrivileges", "ProtectSystem", "ProtectHome", "CapabilityBoundingSet", "RestrictAddressFamilies"):
        assert pruning[name] == server[name]


def test_the_packages_for_traces_are_pinned_with_hashes() -> None:
    locked = (PROJECT / "requirements-observability.lock").read_text()
    wanted = read_requirements((PROJECT / "requirements-observability.txt").read_text())
    assert {name: str(read_lock(locked)[name].requirement.specifier) for name in wanted} == wanted
    assert "--hash=sha256:" in locked
    shipped = read_lock((PROJECT / "requirements.lock").read_text())
    both = set(shipped) & set(read_lock(locked))
    assert not [name for name in both if shipped[name].requirement.specifier != read_lock(locked)[name].requirement.specifier]


def test_no_documented_command_puts_a_password_on_a_command_line() -> None:
    page = (PROJECT / "docs" / "deploying.md").read_text()
    assert "/etc/chat-api.env)" not in page and "~/.pgpass" in page
    (address,) = re.findall(r"^DATABASE_URL=(\S+chat@\S+)", page, re.MULTILINE)
    assert urlsplit(address).password is None
