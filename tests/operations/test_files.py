"""Dockerfile, compose.yaml and the unit are what their own programs accept."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import __version__
from app.settings import PREFIX, Settings, check_servable
from tests.operations.programs import DOCKER, ROOT, documents, program, run
from tests.operations.redis import OPTIONS

pytestmark = pytest.mark.operations


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    run("hadolint", ROOT / "Dockerfile")


def test_the_image_is_labelled_with_the_version_of_the_service() -> None:
    assert f'image.version="{__version__}"' in (ROOT / "Dockerfile").read_text()


def composed(**variables: str) -> dict[str, Any]:
    """The services of compose.yaml, those of its profiles among them."""
    command = ("docker-compose", "--profile", "gpu", "--profile", "batches", "config")
    rendered = run(*command, cwd=ROOT, env={**os.environ, **variables})
    services: dict[str, Any] = yaml.safe_load(rendered)["services"]
    return services


@pytest.mark.parametrize("profile", ["", "gpu"])
def test_compose_accepts_its_file_and_every_file_it_mounts_is_there(profile: str) -> None:
    rendered = run("docker-compose", "--profile", profile, "config", cwd=ROOT)
    services = yaml.safe_load(rendered)["services"]
    assert ("quintet-gpu" in services) == (profile == "gpu")
    mounted = [
        Path(volume["source"])
        for service in services.values()
        for volume in service.get("volumes", ())
        if volume["type"] == "bind"
    ]
    assert len(mounted) == 4
    assert all(path.exists() for path in mounted), mounted


def test_settings_in_compose_are_settings_of_the_service() -> None:
    services = composed(EMBED_MAX_TOKENS_PER_MINUTE="5", EMBED_MAX_BODY_BYTES="7")
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    told = {
        name: {each for each in services[name]["environment"] if each.startswith(PREFIX)}
        for name in ("quintet", "quintet-gpu", "batches")
    }
    assert told["quintet"] == told["quintet-gpu"]
    # Where it listens the image says; keys come in place of EMBED_OPEN.
    missing = known - told["quintet"] - told["batches"]
    assert missing == {PREFIX + each for each in ("HOST", "PORT", "KEYS_FILE")}
    assert told["batches"] <= known
    for name in ("quintet", "quintet-gpu"):
        assert services[name]["environment"]["EMBED_MAX_TOKENS_PER_MINUTE"] == "5"
        assert services[name]["environment"]["EMBED_DTYPE"] is None
    for name in told:
        assert services[name]["environment"]["EMBED_MAX_BODY_BYTES"] == "7"


def test_all_that_compose_starts_takes_larger_bodies() -> None:
    """The bound of all bodies goes wherever that of one does, or the start is refused."""
    larger = {"EMBED_MAX_BODY_BYTES": "500000000", "EMBED_MAX_BODIES_BYTES": "1000000000"}
    services = composed(**larger)
    for name in ("quintet", "quintet-gpu", "batches"):
        told = services[name]["environment"]
        given = {each: told[PREFIX + each.upper()] for each in ("max_body_bytes", "open")}
        bound = told.get("EMBED_MAX_BODIES_BYTES")
        check_servable(Settings(**given, **({"max_bodies_bytes": bound} if bound else {})))


def test_compose_has_batch_jobs_where_they_are_asked_for() -> None:
    services = composed(QUINTET_BATCHES="batches:8080")
    told, balancer = services["batches"]["environment"], services["balancer"]["environment"]
    assert balancer["QUINTET_BATCHES"] == "batches:8080"
    assert composed()["balancer"]["environment"]["QUINTET_BATCHES"] is None
    (volume,) = services["batches"]["volumes"]
    assert volume["target"] == told["EMBED_DATA_DIR"]
    # A new volume has the owner of the folder in the image.
    assert f"/weights {volume['target']}" in (ROOT / "Dockerfile").read_text()
    assert "batches" not in yaml.safe_load(run("docker-compose", "config", cwd=ROOT))["services"]


def test_compose_lets_in_this_machine_alone_unless_told_otherwise() -> None:
    def addresses(**variables: str) -> dict[str, set[str]]:
        services = composed(**variables).items()
        return {
            name: {port.get("host_ip", "all") for port in service["ports"]}
            for name, service in services
            if "ports" in service
        }

    loopback = {name: {"127.0.0.1"} for name in ("balancer", "prometheus", "grafana")}
    assert addresses() == loopback
    assert addresses(QUINTET_ADDRESS="192.0.2.7") == loopback | {"balancer": {"192.0.2.7"}}


def test_a_gpus_replica_may_run_what_it_compiles_into_tmp_and_others_may_not() -> None:
    services = composed()
    (gpu,), (cpu,) = services["quintet-gpu"]["tmpfs"], services["quintet"]["tmpfs"]
    place, _, options = gpu.partition(":")
    assert place == cpu
    assert "exec" in options.split(",")
    stage = (ROOT / "Dockerfile").read_text().partition("FROM service AS gpu")[2]
    home, cache = re.findall(r"\b(?:HOME|TRITON_CACHE_DIR)=(\S+)", stage)
    assert home == place
    assert cache.startswith(f"{place}/")


def test_replicas_in_compose_count_limits_together_for_callers_whom_the_balancer_names() -> None:
    services = composed()
    for name in ("quintet", "quintet-gpu"):
        told = services[name]["environment"]
        assert told["EMBED_REDIS_URL"] == "redis://redis:6379/0"
        assert told["FORWARDED_ALLOW_IPS"] == "*"
        assert "ports" not in services[name], "a caller could say that it is another one"
    assert 'extra["redis"]' in (ROOT / "Dockerfile").read_text()
    assert services["redis"]["command"] == ["redis-server", *OPTIONS]


@pytest.mark.parametrize("devices", ["cuda:0", "cuda:0,cuda:1"])
def test_the_gpus_that_compose_reserves_are_those_that_have_a_worker(devices: str) -> None:
    more = {} if devices == "cuda:0" else {"QUINTET_GPUS": "2", "EMBED_DEVICES": devices}
    replica = composed(**more)["quintet-gpu"]
    (reserved,) = replica["deploy"]["resources"]["reservations"]["devices"]
    assert replica["environment"]["EMBED_DEVICES"] == devices
    assert reserved["count"] == len(devices.split(","))


def test_a_gpu_that_hangs_is_seen_as_soon_as_its_setting_says() -> None:
    description = Settings.model_fields["batch_timeout_s"].description
    (seconds,) = re.findall(r"Lower it on a GPU, to (\d+)", str(description))
    services = composed()
    assert services["quintet-gpu"]["environment"]["EMBED_BATCH_TIMEOUT_S"] == seconds
    assert services["quintet"]["environment"]["EMBED_BATCH_TIMEOUT_S"] is None
    overlay = documents(run("kubectl", "kustomize", DOCKER / "kubernetes" / "overlays" / "gpu"))
    (replica,) = (
        each["spec"]["template"]["spec"]["containers"][0]
        for each in overlay
        if (each["kind"], each["metadata"]["name"]) == ("Deployment", "quintet")
    )
    assert {"name": "EMBED_BATCH_TIMEOUT_S", "value": seconds} in replica["env"]


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """With a program that is there, since systemd looks for it."""
    unit = (DOCKER / "systemd" / "quintet.service").read_text()
    here = tmp_path / "quintet.service"
    here.write_text(
        unit.replace("ExecStart=/opt/quintet/bin/quintet", f"ExecStart={sys.executable}")
    )
    assert sys.executable in here.read_text()
    command = [program("systemd-analyze"), "verify", here]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert here.name not in done.stderr, "an unknown line is only warned of"


def test_the_unit_hides_no_gpu_and_its_user_makes_the_keys_that_it_reads() -> None:
    text = (DOCKER / "systemd" / "quintet.service").read_text()
    unit = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    hiding = {"PrivateDevices", "ProtectClock", "DevicePolicy", "DeviceAllow"}
    assert not hiding & set(unit)
    (line,) = re.findall(r"^#   (runuser .* keys add )NAME$", text, re.MULTILINE)
    place = f"/var/lib/{unit['StateDirectory']}"
    assert f"-u {unit['User']} " in line
    assert f" EMBED_KEYS_FILE={place}/keys " in line
    assert f"useradd --system --create-home --home-dir {place} {unit['User']}\n" in text


def test_every_file_of_docker_is_used_or_told_of() -> None:
    """A file that nothing uses rots: Kustomize or compose takes it, or a README names it."""
    compose = (ROOT / "compose.yaml").read_text()
    readmes = DOCKER.rglob("README.md")
    told = compose + "".join(
        path.read_text() for path in (*readmes, *DOCKER.rglob("kustomization.yaml"))
    )
    for path in DOCKER.rglob("*"):
        if path.is_dir() or path.name in ("kustomization.yaml", "README.md"):
            continue
        folders = [
            f"./{folder.relative_to(ROOT)}:" for folder in path.parents if ROOT in folder.parents
        ]
        assert path.name in told or any(folder in compose for folder in folders), path
