"""Everything a user can run, as real processes, with secrets in the environment, in files, and in the wrong places."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

from ..forking import Forked
from ..waiting import PATIENCE
from .canary import DATABASE, PINECONE, PROXY, SOURCE, WORD

__all__ = ["Process", "World", "run_everything", "run_some"]

BIN: Final = Path(sys.executable).parent
MATERIALIZE: Final = """
import json, sys
import dagster as dg
from vectorferry.dagster import VectorferrySync

with dg.DagsterInstance.get() as instance:
    for attributes in json.load(sys.stdin):
        defs = dg.build_defs_for_component(VectorferrySync(**attributes))
        run = dg.materialize(
            list(defs.assets), selection=["media/video", "media/image", "media/text", "media/audio"],
            partition_key="ads", instance=instance, resources=dict(defs.resources), raise_on_error=False,
        )
        print("succeeded" if run.success else "failed")
"""
TRACEBACKS: Final = {"VECTORFERRY_DEBUG": "1"}
DEVELOPING: Final = {"VECTORFERRY_DEBUG": "1", "PYTHONDEVMODE": "1"}


@dataclass(frozen=True)
class World:
    """The addresses that a configuration needs, and where everything is written."""

    source: str
    revoking: str
    pinecone: str
    echo: str
    database: str
    refusing: str
    nowhere: str
    directory: Path

    @property
    def environ(self) -> dict[str, str]:
        """The variables that the settings name."""
        return {"CANARY_SOURCE": SOURCE, "CANARY_PINECONE": PINECONE, "CANARY_DATABASE": self.database}

    def settings(self, schema: str, source: str | None = None, pinecone: str | None = None) -> dict[str, Any]:
        """A sync from the source into Postgres and Pinecone, every secret by its variable's name."""
        retry = {"attempts": 2, "first_wait": 0.01, "longest_wait": 0.01}
        mixpeek = {"type": "mixpeek", "base_url": source or self.source, "api_key": "${CANARY_SOURCE}", "retry": retry}
        return {
            "name": "media",
            "source": {**mixpeek, "collections": ["ads"]},
            "destinations": [
                {"type": "pgvector", "url": "${CANARY_DATABASE}", "schema": schema},
                {
                    "type": "pinecone",
                    "vectors": "all",
                    "api_key": "${CANARY_PINECONE}",
                    "host": pinecone or self.pinecone,
                    "index_prefix": schema.replace("_", "-")[-20:],
                },
            ],
        }

    def literal(self, value: Any) -> Any:
        """Settings with every secret written out."""
        if isinstance(value, dict):
            return {key: self.literal(below) for key, below in value.items()}
        if isinstance(value, list):
            return [self.literal(below) for below in value]
        return self.environ.get(value[2:-1], value) if isinstance(value, str) else value


@dataclass(frozen=True)
class Process:
    """One that has ended, as it should have (`ended`) or not."""

    name: str
    exit_code: int
    expected: int
    output: str


@dataclass(frozen=True)
class _Command:
    name: str
    arguments: tuple[str, ...]
    config: str
    expected: int = 0
    environ: Mapping[str, str] | None = None


def run_everything(world: World) -> Iterator[Process]:
    """Each command once: first what fills the stores, and then the others side by side; one of them is Dagster."""
    yield from (_run(world, command) for command in _filling(world, DEVELOPING))
    with ThreadPoolExecutor(2) as pool:
        dagster = pool.submit(_dagster, world)
        yield from pool.map(partial(_run, world), [*_asking(world), *_failing(world), *_mistaken()])
        yield dagster.result()


def run_some(world: World) -> Iterator[Process]:
    """One after the other: what fills the stores, half of what asks, and of all that fails a sixth."""
    asking, failing = [*_asking(world)][::2], [*_failing(world), *_mistaken()][::6]
    yield from (_run(world, command) for command in [*_filling(world, TRACEBACKS), *asking, *failing])


def _filling(world: World, environ: Mapping[str, str]) -> Iterator[_Command]:
    by_name = yaml.safe_dump(world.settings("t_canary"))
    written_out = yaml.safe_dump(world.literal(world.settings("t_canary_literal")))
    yield _Command("init", ("init", "--force"), by_name)
    yield _Command("plan", ("plan",), by_name, environ=TRACEBACKS)
    yield _Command("sync", ("sync",), by_name, 3)
    yield _Command("sync with secrets in the file", ("sync", "--json"), written_out, 3, environ)


def _asking(world: World) -> Iterator[_Command]:
    config = yaml.safe_dump(world.literal(world.settings("t_canary")))
    for name, arguments, expected in (
        ("search", ("search", "--like", "nobody"), 2),
        ("search in Pinecone", ("search", "--like", "nobody", "--destination", "pinecone", "--json"), 2),
        ("search by words", ("search", "--text", "a segment", "--json"), 0),
        ("compare", ("compare", "--sample", "2"), 1),
        ("submit", ("submit", "https://media.example/a.mp4", "--json"), 0),
        ("status", ("status", "--json"), 0),
        ("verify", ("verify", "--repair"), 0),
        ("quarantine", ("quarantine", "list", "--json"), 0),
        ("replay", ("quarantine", "replay"), 3),
        ("refill", ("refill", "pinecone", "--json"), 3),
    ):
        yield _Command(name, arguments, config, expected)


def _failing(world: World) -> Iterator[_Command]:
    sources = {
        f"a source that says {status} in {form}": f"{world.echo}/{status}/{form}"
        for status, form in (
            (401, "json"),
            (302, "html"),
            (500, "address"),
            (200, "html"),
            (422, "base64"),
            (400, "text"),
        )
    }
    sources |= {"a key that is revoked": world.revoking, "nobody there": world.nowhere}
    for turn, (name, address) in enumerate(sources.items()):
        config = yaml.safe_dump(world.settings("t_failing", source=address))
        yield _Command(name, ("sync", *["--json"] * (turn % 2)), config, 1, TRACEBACKS)
    other = world.settings("t_failing")
    other["source"] = {"type": "twelvelabs", "base_url": f"{world.echo}/400/text", "api_key": "${CANARY_SOURCE}"}
    yield _Command("a TwelveLabs that says 400 in text", ("sync",), yaml.safe_dump(other), 1, TRACEBACKS)
    for said in ("400/json", "401/text"):
        config = yaml.safe_dump(world.settings("t_failing", pinecone=f"{world.echo}/{said}"))
        yield _Command(f"a Pinecone that says {said.replace('/', ' in ')}", ("sync",), config, 1, TRACEBACKS)
    config = yaml.safe_dump(world.settings("t_failing"))
    for name, address in (("refused", world.refusing), ("unusable", f"postgresql://ferry:{DATABASE}@127.0.0.1/media")):
        environ = TRACEBACKS | {"CANARY_DATABASE": address}
        yield _Command(f"a password that is {name}", ("sync",), config, 1 if name == "refused" else 2, environ)
    for end, expected in (("source", 2), ("pinecone", 1)):  # without Pinecone, the sync goes on into Postgres
        config = yaml.safe_dump(world.settings("t_failing", **{end: "https://127.0.0.1:1"}))
        for cut in "#/":  # a password that was not percent-encoded
            environ = TRACEBACKS | {"https_proxy": f"http://ferry:{PROXY}{cut}x@127.0.0.1", "no_proxy": ""}
            yield _Command(f"a {end} behind a proxy with {ord(cut)}", ("sync",), config, expected, environ)


def _mistaken() -> Iterator[_Command]:
    """A secret where something else belongs."""
    sync = "name: media\nsource: {{type: mixpeek, {0}}}\ndestinations: [{{type: pgvector, {1}}}]\n"
    source = f"base_url: {SOURCE!r}, concurrency: {WORD}, api_key: [{WORD}], page_size: {SOURCE!r}"
    for name, text in {
        "as a type": f"name: media\nsource: {{type: {WORD}}}\ndestinations: [{{type: {WORD}}}]\n",
        "as a name": f"name: {SOURCE!r}\nsource: {SOURCE!r}\ndestinations: {WORD}\n",
        "as a key": sync.format(f"{WORD}: 1", f"{SOURCE!r}: 1"),
        "as something else": sync.format(source, f"url: {DATABASE!r}"),
        "as a variable": sync.format(f"api_key: '${{{WORD}}}'", f"url: '${{{SOURCE}}}'"),
        "as a tag": sync.format(f"api_key: !{WORD} x", "schema: media"),
        "without its end": f"source: {{api_key: '{SOURCE}\n",
        "as one of several names": f"name: {WORD}\n---\nname: {WORD}x\n",
    }.items():
        yield _Command(f"a secret {name}", ("sync",), text, 2, TRACEBACKS)


def _run(world: World, command: _Command) -> Process:
    config = world.directory / "configured" / f"{command.name.replace(' ', '-')}.yaml"
    config.write_text(command.config, encoding="utf-8")
    work = world.directory / "work"
    environ = {**os.environ, **world.environ, **(command.environ or {})}
    arguments = [str(BIN / "vectorferry"), *command.arguments]
    if command.name != "init":
        arguments += ["-c", str(config)]
    return _ended(command.name, command.expected, arguments, work, environ)


def _dagster(world: World) -> Process:
    """Three materializations in an instance that keeps its runs and its log in SQLite files: one of them fails."""
    home = world.directory / "work" / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    syncs = [
        world.settings("t_dagster"),
        world.literal(world.settings("t_dagster")),
        world.literal(world.settings("t_dagster", source=f"{world.echo}/401/json")),
    ]
    environ = {**os.environ, **world.environ, "DAGSTER_HOME": str(home)}
    return _ended("dagster", 0, [sys.executable, "-c", MATERIALIZE], home, environ, json.dumps(syncs))


def _ended(
    name: str,
    expected: int,
    arguments: Sequence[str],
    directory: Path,
    environ: Mapping[str, str],
    given: str | None = None,
) -> Process:
    how: Callable[..., subprocess.Popen[str]] = subprocess.Popen if DEVELOPING.items() <= environ.items() else Forked
    with how(
        list(arguments),
        cwd=directory,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    ) as process:
        out, err = process.communicate(given, PATIENCE)
    return Process(name, process.returncode, expected, out + err)
