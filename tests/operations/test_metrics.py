"""A real Prometheus scrapes a real service; every expression of dashboard and alerts answers."""

import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.access.keyfile import add_key
from tests.operations.programs import DOCKER, ROOT, program, run
from tests.server import LogLines, Service, bearer, running
from tests.waiting import wait_until

pytestmark = pytest.mark.operations

ALERTS = DOCKER / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((DOCKER / "grafana" / "quintet.json").read_text())
PANELS = range(8, 17)
# What Grafana puts in place of its variables.
VARIABLES = {"$instance": ".*", "$__rate_interval": "1m"}


def dashboard_expressions() -> list[str]:
    expressions = [
        target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
    ]
    for name, value in VARIABLES.items():
        expressions = [expression.replace(name, value) for expression in expressions]
    return expressions


def alert_expressions() -> list[str]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def keda_expression() -> str:
    file = DOCKER / "kubernetes" / "components" / "keda" / "scaledobject.yaml"
    scaled = yaml.safe_load(file.read_text())
    query: str = scaled["spec"]["triggers"][0]["metadata"]["query"]
    return query


def series_of(expression: str) -> set[str]:
    """The names of series in an expression, a histogram's by its own name."""
    return {
        re.sub("_(bucket|sum|count)$", "", name)
        for name in re.findall(r"\bquintet_\w+", expression)
    }


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """What an expression answers now."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=30)
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.url}/api/v1/{path}", timeout=30).json()["data"]


@contextmanager
def prometheus(folder: Path, service: Service) -> Iterator[Prometheus]:
    """A Prometheus that has scraped the service twice, and loaded the alerts."""
    target = service.url.removeprefix("http://")
    # The operator's Prometheus adds the namespace.
    labelled = {"targets": [target], "labels": {"namespace": "quintet"}}
    scrape = {"job_name": "quintet", "static_configs": [labelled]}
    every = ("scrape_interval", "scrape_timeout", "evaluation_interval")
    configuration = {
        "global": dict.fromkeys(every, "500ms"),
        "rule_files": [str(ALERTS)],
        "scrape_configs": [scrape],
    }
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    command = [
        program("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        log = LogLines(process.stderr)
        address = log.wait_for(r'msg="Listening on" address=(127\.0\.0\.1:\d+)').group(1)
        log.wait_for("Server is ready to receive web requests")
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys"


@pytest.fixture(scope="module")
def key(keys: Path) -> str:
    return add_key(keys, "night")


@pytest.fixture(scope="module")
def service(keys: Path, key: str) -> Iterator[Service]:
    with running(keys_file=keys, data_dir=keys.parent / "data") as service:
        yield service


@pytest.fixture(scope="module")
def asked(
    service: Service, key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that saw requests before, between and after two scrapes."""
    headers, numbers = bearer(key), itertools.count()
    with (
        prometheus(tmp_path_factory.mktemp("prometheus"), service) as answering,
        service.client(headers=headers) as caller,
    ):

        def scraped() -> list[dict[str, Any]]:
            body = {"input": [f"night {next(numbers)}"], "task": "separation"}
            assert caller.post("/v1/embeddings", json=body).status_code == 200
            return answering.ask("count_over_time(quintet_build_info[1m]) > 3")

        wait_until(scraped, "four scrapes", timeout_s=200)
        yield answering


def exposed(service: Service) -> set[str]:
    """The names of the series that a service has, a histogram's by its own name."""
    text = httpx.get(f"{service.url}/metrics", timeout=30).text
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    return {name for name in kinds if not name.endswith("_created")}


def test_promtool_finds_nothing_in_the_exposition(service: Service) -> None:
    text = httpx.get(f"{service.url}/metrics", timeout=30).text
    assert run("promtool", "check", "metrics", input=text) == ""


def test_alerts_fire_when_they_should_and_only_then() -> None:
    run("promtool", "test", "rules", ROOT / "tests" / "operations" / "alerts_test.yml")


def test_promtool_accepts_the_configuration_that_compose_mounts() -> None:
    told = run("promtool", "check", "config", DOCKER / "prometheus" / "prometheus.yml")
    assert "rules found" in told


def test_dashboard_and_alerts_ask_for_series_that_the_service_has(service: Service) -> None:
    wanted = set[str]().union(
        *map(series_of, (*dashboard_expressions(), *alert_expressions(), keda_expression()))
    )
    have = exposed(service)
    assert wanted <= have


def test_every_expression_of_the_dashboard_answers(asked: Prometheus) -> None:
    expressions = dashboard_expressions()
    assert len(expressions) >= len(DASHBOARD["panels"])
    for expression in expressions:
        assert asked.ask(expression), f"nothing under {expression}"


def test_what_keda_scales_by_is_one_number(asked: Prometheus) -> None:
    (answer,) = asked.ask(keda_expression())
    assert float(answer["value"][1]) >= 0


def test_every_stage_of_a_request_is_timed(asked: Prometheus) -> None:
    for stage in ("parse", "tokenise", "queue", "forward", "encode"):
        (row,) = asked.ask(f'quintet_stage_seconds_count{{stage="{stage}"}}')
        assert float(row["value"][1]) > 0, stage


def evaluated(asked: Prometheus) -> dict[str, Any]:
    """The rules by name, when each of them has been evaluated twice."""
    seen: dict[str, set[str]] = {}

    def rules_evaluated_twice() -> dict[str, Any] | None:
        (group,) = asked.get("rules")["groups"]
        rules = {rule["name"]: rule for rule in group["rules"]}
        for name, rule in rules.items():
            seen.setdefault(name, set()).add(rule["lastEvaluation"])
        # The first is no time at all.
        return rules if all(len(times) > 2 for times in seen.values()) else None

    return wait_until(rules_evaluated_twice, "two evaluations of each rule", 200) or {}


def test_alerts_are_loaded_healthy_and_quiet_beside_a_service_that_is_well(
    asked: Prometheus,
) -> None:
    rules = evaluated(asked)
    assert len(rules) == len(alert_expressions())
    for name, rule in rules.items():
        assert rule["health"] == "ok", rule.get("lastError")
        assert rule["state"] == "inactive", name
        assert {"summary", "description", "runbook"} == set(rule["annotations"]), name
        assert rule["labels"]["severity"] in ("page", "ticket"), name
        assert asked.ask(rule["query"]) == [], name


def test_what_alerts_compare_is_there_to_be_compared(asked: Prometheus) -> None:
    """An alert over a series with another label or name would be quiet for ever."""
    for expression in alert_expressions():
        for part in re.split(r"\band\b", expression):
            left = re.sub(r"(==|>|<) *[\d.]+\s*$", "", part.strip()).strip()
            assert left != part.strip(), f"no comparison in {part}"
            selectors = re.findall(r"(?:quintet_\w+|up)(?:\{[^}]*\})?", left)
            for selector in selectors:
                if "status=" not in selector:  # no request has failed here
                    assert asked.ask(selector), f"nothing under {selector}"


def test_each_panel_has_a_title_a_unit_and_a_place_of_its_own() -> None:
    panels = DASHBOARD["panels"]
    assert len(panels) in PANELS, "what is watched at night is taken in at a glance"
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_grafana_is_told_of_the_prometheus_and_the_folder_that_compose_has() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    provisioning = DOCKER / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    assert "prometheus" in compose["services"]
    provider = yaml.safe_load((provisioning / "dashboards" / "quintet.yaml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    mounts = compose["services"]["grafana"]["volumes"]
    assert any(mount.split(":")[1] == f"{folder}/quintet.json" for mount in mounts)
