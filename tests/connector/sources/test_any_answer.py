"""Whatever a service answers, a sync ends with a summary or with one of our errors."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from vectorferry.connector.http import Answer, _client
from vectorferry.connector.http._exchange import Outgoing, SingleSendTransport, exchange
from vectorferry.connector.plugin import SourceSettings, VectorferryError
from vectorferry.connector.sandbox import GeneratedCatalogue, GeneratedIndexes, SandboxSettings, running_sandbox
from vectorferry.connector.sources.mixpeek import MixpeekSettings
from vectorferry.connector.sources.mixpeek_documents import MixpeekDocumentsSettings
from vectorferry.connector.sources.twelvelabs import TwelveLabsSettings
from vectorferry.connector.testing import MemoryDestination, sync

QUICK: Final = {"attempts": 1}
MISTAKES: Final[tuple[Any, ...]] = (
    *(None, True, -1, 0, 10**400, 1e308, float("nan"), float("inf"), 2**63, 0.5),
    *("", "\0", "\ud800", "x" * 3_000, "2025-13-45T99:00:00Z", "../..", "9" * 400, "ready", "DONE"),
    *([], {}, [[]], [None], {"": None}, {"a": {"b": []}}, [1, "2", None], {"total": "many"}),
)


def mixpeek(url: str) -> SourceSettings:
    return MixpeekSettings.model_validate({"base_url": url, "api_key": "sk_sandbox", "retry": QUICK})


def twelvelabs(url: str) -> SourceSettings:
    return TwelveLabsSettings.model_validate({"base_url": f"{url}/v1.3", "api_key": "sk_sandbox", "retry": QUICK})


def mixpeek_objects(url: str) -> SourceSettings:
    return _documents(url, "objects")


def mixpeek_vectors(url: str) -> SourceSettings:
    return _documents(url, "my-vectors")


def _documents(url: str, namespace: str) -> SourceSettings:
    said = {"base_url": f"{url}/mixpeek-documents", "api_key": "sk_sandbox", "retry": QUICK, "namespace": namespace}
    return MixpeekDocumentsSettings.model_validate(said)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is withheld for ever is not waited for."""
    monkeypatch.setattr("vectorferry.connector.sources.mixpeek_documents._reader.WAITS", (0.0,))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    catalogue = GeneratedCatalogue(assets=3, features_per_asset=2, dimension=4)
    indexes = GeneratedIndexes(assets=3, segments_per_asset=2, dimension=4)
    with running_sandbox(SandboxSettings(generate=catalogue, generate_twelvelabs=indexes)) as sandbox:
        sandbox.documents.add_namespace("objects")
        sandbox.documents.add_collection(
            "objects", "films", {"dense": "dense", "sparse": "sparse", "late": "multi_dense"}
        )
        for number in range(6):
            vectors = {"dense": [1, 2, 3, number], "sparse": {"indices": [number], "values": [1]}, "late": [[1, 2]]}
            sandbox.documents.put_document(
                "films", f"d{number}", vectors=vectors, object_id=f"o{number // 2}", text="t"
            )
        yield sandbox.url


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything within a JSON value, itself included; of a vector's numbers only the first."""
    yield path
    if isinstance(value, dict):
        for key, below in value.items():
            yield from places(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value[:4]):
            yield from places(below, (*path, index))


def spoilt(value: Any, random: Random) -> Any:
    """The value with a mistake in one place: something else there, or nothing, or the same twice."""
    path = random.choice(list(places(value)))
    if not path:
        return random.choice(MISTAKES)
    changed = copy.deepcopy(value)
    around = changed
    for part in path[:-1]:
        around = around[part]
    match random.randrange(4):
        case 0:
            del around[path[-1]]
        case 1 if isinstance(around, list):
            around.append(copy.deepcopy(around[path[-1]]))
        case _:
            around[path[-1]] = random.choice(MISTAKES)
    return changed


async def refused(opened: SourceSettings, share: float, random: Random, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Sync while this share of the answers is spoilt. Whether that was an error of ours, and not a record set aside."""

    async def careless(transport: SingleSendTransport, request: Outgoing, *bounds: Any) -> Answer:
        answer = await exchange(transport, request, *bounds)
        if random.random() > share:
            return answer
        return answer._replace(body=json.dumps(spoilt(json.loads(answer.body), random)).encode())

    monkeypatch.setattr(_client, "exchange", careless)
    source = opened.open()
    try:
        summary = await sync(source, [MemoryDestination()], name="m")
    except VectorferryError:
        return True
    finally:
        await source.aclose()
    return summary.exit_code not in (0, 3)


@pytest.mark.parametrize(
    "service", [mixpeek, twelvelabs, mixpeek_objects, mixpeek_vectors], ids=lambda service: service.__name__
)
def test_any_answer_is_read_set_aside_or_refused(url: str, service: Callable[[str], SourceSettings]) -> None:
    ends: set[bool] = set()

    @settings(max_examples=examples(8, 200), deadline=None)
    @given(st.integers(0, 2**32), st.sampled_from([0.5, 0.1]))
    @example(0, 1.0)  # few examples may all be taken well, or all badly
    @example(0, 0.0)
    def try_one(seed: int, share: float) -> None:
        with pytest.MonkeyPatch.context() as patches:
            ends.add(asyncio.run(refused(service(url), share, Random(seed), patches)))

    try_one()
    assert ends == {True, False}
