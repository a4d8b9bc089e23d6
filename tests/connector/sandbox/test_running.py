"""Three ways to run it, each of which cleans up after itself."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator

import httpx
import pytest

from tests.connector.sandbox.serving import served
from tests.examples import family
from tests.waiting import PATIENCE
from vectorferry.connector.plugin import ConfigurationError
from vectorferry.connector.sandbox import (
    GeneratedCatalogue,
    MixpeekDialect,
    Sandbox,
    SandboxSettings,
    running_sandbox,
    serve,
)

FOREGROUND = """
from vectorferry.connector.sandbox import serve
serve(on_ready=lambda sandbox: print(sandbox.url, flush=True))
print("stopped", flush=True)
"""


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_a_sandbox_in_a_thread_answers_and_is_gone_afterwards() -> None:
    threads = threading.active_count()
    with running_sandbox() as sandbox:
        url = sandbox.url
        headers = {"Authorization": f"Bearer {sandbox.api_key}"}
        assert httpx.get(f"{url}/collections", headers=headers).status_code == 200
        sandbox.mixpeek.remove_asset(sandbox.mixpeek.asset_ids()[0])
        assert sandbox.requests.counts() == {"collections.list": 1}
    assert threading.active_count() == threads
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_a_thread_with_an_open_connection_ends_too() -> None:
    with httpx.Client() as client, running_sandbox() as sandbox:
        assert client.get(f"{sandbox.url}/healthcheck").status_code == 200


def test_an_error_in_the_block_comes_through() -> None:
    with pytest.raises(LookupError, match="mine"), running_sandbox():
        raise LookupError("mine")


def test_a_taken_port_is_a_configuration_error_in_every_way_of_running(taken_port: int) -> None:
    with pytest.raises(ConfigurationError, match=f"Port {taken_port} is in use"), running_sandbox(port=taken_port):
        pass
    with pytest.raises(ConfigurationError, match="0 picks a free one"):
        serve(port=taken_port)


async def test_starting_on_a_taken_port_leaves_nothing_behind(taken_port: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConfigurationError):
            await Sandbox(port=taken_port).start()


@pytest.mark.parametrize("number", family([signal.SIGINT, signal.SIGTERM]))
@pytest.mark.long
def test_the_foreground_server_stops_on_a_signal(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", FOREGROUND], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert httpx.get(f"{url}/healthcheck").status_code == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "stopped\n", "")


async def test_every_sandbox_has_media_of_its_own() -> None:
    async with served() as (one, _), served() as (other, client):
        one.mixpeek.remove_asset(one.mixpeek.asset_ids("example")[0])
        listed = (await client.post("/assets", json={"collections": ["example"]})).json()
        assert listed["pagination"]["total"] == len(other.mixpeek.asset_ids("example")) == 2


async def test_a_generated_catalogue_has_the_size_asked_for() -> None:
    generate = GeneratedCatalogue(assets=30, features_per_asset=4, dimension=8, vector_name="v", collections=("a", "b"))
    async with served(SandboxSettings(generate=generate)) as (sandbox, client):
        assert len(sandbox.mixpeek.feature_ids()) == len(set(sandbox.mixpeek.feature_ids())) == 120
        assert len(sandbox.mixpeek.asset_ids("b")) == 15
        vectors = set()
        for feature_id in sandbox.mixpeek.feature_ids():
            feature = (await client.get(f"/features/{feature_id}?return_vectors=true")).json()
            vectors.add(tuple(feature["vectors"]["v"]))
            assert sum(x * x for x in feature["vectors"]["v"]) == pytest.approx(1.0, abs=1e-5)
        assert len(vectors) == 120
        models = (await client.get("/namespaces/indexes")).json()["embedding_models"]
        assert models["v"]["size"] == 8


def test_a_generated_catalogue_is_the_same_every_time_and_another_seed_is_another() -> None:
    def ids(seed: int) -> list[str]:
        generate = GeneratedCatalogue(assets=3, features_per_asset=2, seed=seed)
        return Sandbox(SandboxSettings(generate=generate)).mixpeek.feature_ids()

    assert ids(1) == ids(1)
    assert not set(ids(1)) & set(ids(2))


def test_settings_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ValueError, match="extra_forbidden"):
        SandboxSettings.model_validate({"latency": 3})
    with pytest.raises(ValueError, match="features_reply"):
        MixpeekDialect.model_validate({"features_reply": "nope"})


async def test_latency_delays_every_answer_but_not_each_other() -> None:
    async with served(SandboxSettings(latency_ms=40)) as (_, client):
        clock = asyncio.get_running_loop()
        began = clock.time()
        await asyncio.gather(*(client.get("/collections") for _ in range(5)))
        assert 0.04 <= clock.time() - began < 0.08
