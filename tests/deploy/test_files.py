"""What is deployed beside the code agrees with the code: compose file, image, Prometheus and its alerts, dashboard."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from correlator.cli.docs import ROOT
from correlator.config.load import load_rules, load_topology
from correlator.config.settings import Settings, load_settings
from correlator.runtime.metrics import METRICS, Kind

DEPLOY: Final = ROOT / "deploy"
ALERTS: Final = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD: Final = DEPLOY / "grafana" / "dashboards" / "correlator.json"
COMPOSE: Final = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
DOCKERFILE: Final = (DEPLOY / "Dockerfile").read_text()
SCRAPE: Final = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
RULES: Final = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
PINNED: Final = re.compile(r"^[a-z0-9./-]+:v?\d+(\.\d+)+(-[a-z0-9-]+)?$")
SECRET: Final = re.compile(r"(?i)(password|secret|token|private_key)\s*[:=]")
SUFFIXES: Final = ("_bucket", "_sum", "_count")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The settings as the service in the container sees them, beside what is mounted there."""
    inside = tmp_path_factory.mktemp("etc")
    for volume in SERVICES["correlator"]["volumes"]:
        source, target, _ = volume.split(":")
        (inside / Path(target).name).symlink_to(ROOT / source)
    return load_settings(str(inside / "settings.yaml"))


def test_the_kafka_image_is_of_the_version_that_is_tested() -> None:
    [tested] = re.findall(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([^<]+)<", (DEPLOY / "kafka" / "pom.xml").read_text())
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{tested}"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_checked_and_listens_on_this_machine_alone(name: str) -> None:
    service = SERVICES[name]
    assert PINNED.match(service["image"])
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "always", "a signal by `docker compose kill` counts as a stop by hand otherwise"
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@pytest.mark.parametrize("name", SERVICES)
def test_every_mounted_file_and_volume_exists(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], volume


def test_the_service_waits_for_a_kafka_that_answers() -> None:
    assert SERVICES["correlator"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}


def test_one_broker_does_with_one_replica_of_what_it_keeps_for_itself() -> None:
    environment = SERVICES["kafka"]["environment"]
    assert {value for name, value in environment.items() if name.endswith(("REPLICATION_FACTOR", "MIN_ISR"))} == {"1"}
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_the_service_speaks_to_the_address_that_the_broker_tells(settings: Settings) -> None:
    told = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"INSIDE://{settings.kafka.bootstrap[0]}" in told


def test_the_service_runs_with_the_mounted_settings_and_without_privileges() -> None:
    service = SERVICES["correlator"]
    assert "./deploy/settings.yaml:/etc/correlator/settings.yaml:ro" in service["volumes"]
    assert service["command"] == ["run", "--config", "/etc/correlator/settings.yaml"]
    assert (service["read_only"], service["cap_drop"], service["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])


def test_ports_health_and_scrape_target_are_those_of_the_service(settings: Settings) -> None:
    port = settings.http.port
    assert settings.http.host == "0.0.0.0"  # noqa: S104 - inside its container
    assert SERVICES["correlator"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f"http://127.0.0.1:{port}/-/healthy" in SERVICES["correlator"]["healthcheck"]["test"][-1]
    assert f"http://127.0.0.1:{port}/-/healthy" in DOCKERFILE
    assert f"EXPOSE {port}" in DOCKERFILE
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in SCRAPE["scrape_configs"]}
    assert jobs["correlator"] == [f"correlator:{port}"]


def test_the_image_bears_the_version_of_the_program() -> None:
    [version] = re.findall(r'^version = "([^"]+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert SERVICES["correlator"]["image"] == f"correlator:{version}"


def test_the_topologies_and_rules_that_the_settings_name_are_mounted(settings: Settings) -> None:
    assert load_rules(list(settings.rules))[0].digest
    assert load_topology(list(settings.topology))[0].nodes


def test_the_image_is_pinned_slim_built_in_stages_and_runs_as_nobody_special() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 2
    assert all(PINNED.match(base) and "slim" in base for base in bases)
    assert re.search(r"^USER \d+$", DOCKERFILE.split("FROM")[-1], re.MULTILINE)
    assert "\nHEALTHCHECK " in DOCKERFILE
    assert 'ENTRYPOINT ["correlator"]' in DOCKERFILE


def test_the_image_is_built_by_a_version_that_is_named() -> None:
    assert re.search(r'^requires = \["hatchling==[\d.]+"\]$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def test_a_reload_sends_its_signal_from_inside_the_container() -> None:
    assert "compose kill" not in (ROOT / "docs" / "operate.md").read_text()


def test_the_image_copies_only_what_is_there_and_not_ignored() -> None:
    ignored = set((ROOT / ".dockerignore").read_text().split())
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source.split("/")[0] not in ignored, source


@pytest.mark.parametrize("path", [ROOT / "docker-compose.yml", *sorted(path for path in DEPLOY.rglob("*") if path.is_file())], ids=str)
def test_no_secret_stands_in_a_deployed_file(path: Path) -> None:
    assert not SECRET.search(path.read_text())


# Prometheus


def test_prometheus_loads_the_alerts_and_scrapes_by_the_name_they_go_by() -> None:
    assert SCRAPE["rule_files"] == [ALERTS.name]
    assert "correlator" in {job["job_name"] for job in SCRAPE["scrape_configs"]}
    assert "--config.file=/etc/prometheus/prometheus.yaml" in SERVICES["prometheus"]["command"]


def unknown_metrics(expression: str) -> set[str]:
    """Answer the names of ours in a query that no metric of the table has."""
    known = {metric.full_name for metric in METRICS}
    known |= {metric.full_name + suffix for metric in METRICS if metric.kind is Kind.HISTOGRAM for suffix in SUFFIXES}
    return set(re.findall(r"\bcorrelator_\w+", expression)) - known


def labels_asked(expression: str) -> set[tuple[str, str, str]]:
    """Answer metric, label and value of every exact match on a label of ours."""
    found = set()
    for name, matchers in re.findall(r"\b(correlator_\w+)\{([^}]*)\}", expression):
        found |= {(name, label, value) for label, value in re.findall(r'(\w+)="([^"]*)"', matchers)}
    return found


def queries() -> list[tuple[str, str]]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    shown = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
    return shown + [(rule["alert"], rule["expr"]) for rule in RULES]


@pytest.mark.parametrize(("name", "expression"), queries())
def test_a_query_names_only_metrics_and_label_values_that_exist(name: str, expression: str) -> None:
    assert not unknown_metrics(expression), name
    values = {(metric.full_name, label.name): label.values for metric in METRICS for label in metric.labels}
    for metric, label, value in labels_asked(expression):
        if label not in ("job", "instance"):
            assert value in values[metric, label], name


def test_an_unknown_metric_would_be_found() -> None:
    assert unknown_metrics("rate(correlator_nothing_total[5m]) + correlator_ready") == {"correlator_nothing_total"}


def test_a_dashboard_has_a_source_and_places_that_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    sources = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"] for source in sources}
    assert sources[0]["url"] == "http://prometheus:9090"
    places = [
        (x, panel["gridPos"]["y"]) for panel in panels for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
    ]
    assert len(places) == len(set(places))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_how_bad_it_is_and_where_its_runbook_is(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "warn")
    page, anchor = rule["annotations"]["runbook_url"].split("#")
    assert anchor == rule["alert"].lower()
    assert f"### {rule['alert']}\n" in (ROOT / page).read_text()


def test_the_runbook_speaks_of_no_alert_that_does_not_exist() -> None:
    told = set(re.findall(r"^### (Correlator\w+)$", (ROOT / "docs" / "operate.md").read_text(), re.MULTILINE))
    assert told == {rule["alert"] for rule in RULES}


@pytest.mark.parametrize(
    "check", [("check", "config", "prometheus.yaml"), ("check", "rules", "alerts.yaml"), ("test", "rules", "alerts.test.yaml")]
)
def test_promtool_finds_no_fault(check: tuple[str, ...]) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing: install Debian's package `prometheus` to check its configuration, alerts and their tests")
    done = subprocess.run(["promtool", *check], check=False, capture_output=True, text=True, cwd=ALERTS.parent, timeout=30)  # noqa: S607
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_to_fire_and_not_to() -> None:
    cases = yaml.safe_load((ALERTS.parent / "alerts.test.yaml").read_text())["tests"]
    tried = [(case["promql_expr_test"][0]["expr"], bool(case["promql_expr_test"][0]["exp_samples"])) for case in cases]
    for rule in RULES:
        assert {fires for expression, fires in tried if f'"{rule["alert"]}"' in expression} == {True, False}, rule["alert"]
