"""What Kustomize renders is what Kubernetes accepts, and says what the README promises."""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import PREFIX, Settings
from tests.checkpoints import MINI
from tests.operations.programs import DOCKER, documents, run

pytestmark = pytest.mark.operations

KUBERNETES = DOCKER / "kubernetes"
VERSIONS = ("1.30", "1.34")
CUSTOM = {"ScaledObject", "PodMonitor", "PrometheusRule"}
# Deployments, and the jobs under which Prometheus has their pods.
SCRAPED = ("quintet", "quintet-batches")


def render(folder: Path) -> list[dict[str, Any]]:
    return documents(run("kubectl", "kustomize", folder))


@pytest.fixture(scope="module", params=["cpu", "gpu", "example"])
def rendered(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Each overlay in turn."""
    return render(KUBERNETES / "overlays" / request.param)


@pytest.fixture(scope="module")
def example() -> list[dict[str, Any]]:
    """All components over the GPU overlay."""
    return render(KUBERNETES / "overlays" / "example")


def one(objects: list[dict[str, Any]], kind: str, name: str = "quintet") -> dict[str, Any]:
    found = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def pods(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for each in objects:
        if each["kind"] in ("Deployment", "Job"):
            yield each["spec"]["template"]["spec"]


def containers(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for pod in pods(objects):
        yield from (*pod.get("initContainers", ()), *pod["containers"])


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_its_schema(
    rendered: list[dict[str, Any]], version: str, tmp_path: Path
) -> None:
    file = tmp_path / "rendered.yaml"
    known = [each for each in rendered if each["kind"] not in CUSTOM]
    file.write_text(yaml.safe_dump_all(known))
    told = run("kubernetes-validate", "--strict", "-k", version, file)
    assert told.count("passed for resource") == len(known)
    page = (KUBERNETES / "README.md").read_text()
    assert all(f"`{kind}`" in page for kind in CUSTOM), "the page says what is not checked"
    assert version in page


def test_each_component_renders_over_each_overlay_by_itself(tmp_path: Path) -> None:
    for overlay in ("cpu", "gpu"):
        for component in sorted(path for path in (KUBERNETES / "components").iterdir()):
            folder = tmp_path / overlay / component.name
            folder.mkdir(parents=True)
            named = [KUBERNETES / "overlays" / overlay, component]
            resource, part = (os.path.relpath(path, folder) for path in named)
            own = {"resources": [resource], "components": [part]}
            (folder / "kustomization.yaml").write_text(yaml.safe_dump(own))
            assert one(render(folder), "Deployment")


def test_every_pod_may_do_nothing_that_it_does_not_need(rendered: list[dict[str, Any]]) -> None:
    for pod in pods(rendered):
        assert pod["automountServiceAccountToken"] is False
        # Else a Service named `embed` would set EMBED_PORT.
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(rendered):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]


def test_probes_ask_paths_that_are_served(rendered: list[dict[str, Any]]) -> None:
    (container,) = one(rendered, "Deployment")["spec"]["template"]["spec"]["containers"]
    paths = {name: probe["httpGet"]["path"] for name, probe in container.items() if "Probe" in name}
    assert paths == {
        "startupProbe": "/ready",
        "readinessProbe": "/ready",
        "livenessProbe": "/live",
    }


def test_settings_are_settings_of_the_service(rendered: list[dict[str, Any]]) -> None:
    """An unknown one would stop every pod at its start."""
    deployment = one(rendered, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    settings = next(
        each["data"] for each in rendered if each["metadata"]["name"].startswith("quintet-settings")
    )
    names = {each["name"] for each in deployment["env"]} | set(settings)
    own = {name for name in names if name.startswith(PREFIX)}
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert own <= known
    assert settings["FORWARDED_ALLOW_IPS"] == "*", "limits by address would see the balancers"


def test_a_pod_is_given_the_time_that_its_drain_takes(rendered: list[dict[str, Any]]) -> None:
    settings = next(
        each["data"] for each in rendered if each["metadata"]["name"].startswith("quintet-settings")
    )
    drain = float(settings["EMBED_DRAIN_DELAY_S"]) + float(settings["EMBED_REQUEST_TIMEOUT_S"])
    pod = one(rendered, "Deployment")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= drain + 5


def test_services_and_policies_select_pods_that_exist(rendered: list[dict[str, Any]]) -> None:
    labels = [
        each["spec"]["template"]["metadata"]["labels"]
        for each in rendered
        if each["kind"] in ("Deployment", "Job")
    ]
    selectors = [each["spec"]["selector"] for each in rendered if each["kind"] == "Service"]
    for each in rendered:
        if each["kind"] in ("NetworkPolicy", "PodDisruptionBudget"):
            field = "podSelector" if each["kind"] == "NetworkPolicy" else "selector"
            selectors.append(each["spec"][field]["matchLabels"])
    assert len(selectors) >= 6
    for selector in selectors:
        assert any(selector.items() <= label.items() for label in labels), selector


def test_replicas_hear_balancers_and_prometheus_and_speak_to_nobody(
    rendered: list[dict[str, Any]],
) -> None:
    policy = one(rendered, "NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert not policy.get("egress")
    (rule,) = policy["ingress"]
    named = [each["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for each in rule["from"]]
    assert named == ["quintet-balancer", "prometheus"]


def test_the_balancers_ask_the_name_that_has_every_pod(rendered: list[dict[str, Any]]) -> None:
    balancer = one(rendered, "Deployment", "quintet-balancer")["spec"]["template"]["spec"]
    service = next(
        each["value"]
        for each in balancer["containers"][0]["env"]
        if each["name"] == "QUINTET_SERVICE"
    )
    headless = one(rendered, "Service", "quintet-pods")["spec"]
    assert headless["clusterIP"] == "None"
    assert service.startswith("quintet-pods.")
    assert service.endswith(f":{headless['ports'][0]['port']}")


def test_without_a_spare_gpu_a_rollout_takes_one_away_first(example: list[dict[str, Any]]) -> None:
    strategy = one(example, "Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 0, "maxUnavailable": 1}


def test_keda_scales_the_deployment_by_waiting_tokens(example: list[dict[str, Any]]) -> None:
    scaled = one(example, "ScaledObject")
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    assert scaled["spec"]["scaleTargetRef"] == {"name": "quintet"}
    (trigger,) = scaled["spec"]["triggers"]
    assert (trigger["type"], trigger["metricType"]) == ("prometheus", "AverageValue")
    assert "quintet_queue_tokens" in trigger["metadata"]["query"]
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    deployment = one(example, "Deployment")["spec"]
    assert "replicas" not in deployment, "each apply would undo what KEDA did"
    assert scaled["spec"]["minReplicaCount"] <= scaled["spec"]["maxReplicaCount"]


def test_the_operator_has_the_alerts_that_are_tested(example: list[dict[str, Any]]) -> None:
    rule = one(example, "PrometheusRule")
    alerts = yaml.safe_load((DOCKER / "prometheus" / "alerts.yml").read_text())
    assert rule["spec"] == alerts, "docker/prometheus/alerts.yml has changed: make alerts"


def test_the_operator_scrapes_the_pods_under_the_job_that_alerts_ask_for(
    example: list[dict[str, Any]],
) -> None:
    monitor = one(example, "PodMonitor")["spec"]
    (expression,) = monitor["selector"]["matchExpressions"]
    assert expression == {"key": monitor["jobLabel"], "operator": "In", "values": [*SCRAPED]}
    endpoint = monitor["podMetricsEndpoints"][0]
    for name in SCRAPED:
        template = one(example, "Deployment", name)["spec"]["template"]
        assert template["metadata"]["labels"][monitor["jobLabel"]] == name
        ports = template["spec"]["containers"][0]["ports"]
        assert endpoint["port"] in [port["name"] for port in ports]
        (rule,) = one(example, "NetworkPolicy", name)["spec"]["ingress"]
        heard = [each["podSelector"]["matchLabels"].popitem()[1] for each in rule["from"]]
        assert "prometheus" in heard
        assert [port["port"] for port in rule["ports"]] == [ports[0]["containerPort"]]
    alerts = one(example, "PrometheusRule")["spec"]["groups"][0]["rules"]
    (down,) = (each["expr"] for each in alerts if each["alert"] == "QuintetTargetDown")
    (jobs,) = re.findall(r'job=~"([^"]+)"', down)
    assert all(re.fullmatch(jobs, name) for name in SCRAPED)
    assert not re.fullmatch(jobs, "quintet-balancer")


def test_the_server_reads_weights_that_only_the_check_may_write(
    example: list[dict[str, Any]],
) -> None:
    pod = one(example, "Deployment")["spec"]["template"]["spec"]
    (check,), (server,) = pod["initContainers"], pod["containers"]
    mounts = {mount["name"]: mount for mount in server["volumeMounts"]}
    assert mounts["weights"]["readOnly"] is True
    assert "source" not in mounts
    assert check["image"] == server["image"]


def copy(source: Path, weights: Path, listed: Path) -> subprocess.CompletedProcess[str]:
    """What the init container runs."""
    environment = {
        "PATH": os.environ["PATH"],
        "SOURCE": str(source),
        "WEIGHTS": str(weights),
        "LIST": str(listed),
    }
    command = ["sh", KUBERNETES / "components" / "weights" / "copy.sh"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_weights_are_copied_when_every_file_is_the_pinned_one(tmp_path: Path) -> None:
    names = ("config.json", "model.safetensors", "tokenizer.json")
    sums = {name: hashlib.sha256((MINI / name).read_bytes()).hexdigest() for name in names}
    listed = tmp_path / "weights.sha256"
    listed.write_text("".join(f"{total}  {name}\n" for name, total in sums.items()))
    done = copy(MINI, tmp_path / "weights", listed)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "weights").iterdir()} == set(names)

    listed.write_text(
        re.sub("^.", lambda first: "0" if first[0] != "0" else "1", listed.read_text())
    )
    assert copy(MINI, tmp_path / "other", listed).returncode != 0


def test_as_it_is_the_list_of_weights_refuses_everything(tmp_path: Path) -> None:
    listed = KUBERNETES / "components" / "weights" / "weights.sha256"
    done = copy(MINI, tmp_path / "weights", listed)
    assert done.returncode != 0
    assert "FAILED" in done.stdout
