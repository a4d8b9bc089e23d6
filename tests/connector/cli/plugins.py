"""Small plug-ins for tests of configuration and command line, and a way to install them for one test.

The shelf is a source of as many assets as its settings say; the box is a destination that keeps them in memory.
"""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn, cast

import numpy as np
from pydantic import Field, SecretStr, field_validator

from vectorferry.connector.plugin import (
    Asset,
    AssetState,
    Capability,
    ConfigurationError,
    CredentialsError,
    Delivery,
    Destination,
    DestinationError,
    DestinationSettings,
    Feature,
    Hit,
    LimitReachedError,
    Listing,
    Reason,
    Rejected,
    RetrieverQuery,
    SearchAnswer,
    SearchQuery,
    Settings,
    SourceError,
    SourceQuery,
    SourceSettings,
    Submission,
    SubmissionState,
    SubmitOptions,
    Visibility,
)
from vectorferry.connector.testing import MemoryDestination, MemorySource

HERE = "tests.connector.cli.plugins"
Mishap = Literal["refused", "crash", "interrupt", "terminate", "terminate in a task", "hang", "disk full", "limited"]


class Retry(Settings):
    attempts: int = 3


class ShelfSettings(SourceSettings):
    """A source of made-up videos."""

    type: Literal["shelf", "shop"] = "shelf"
    api_key: SecretStr
    base_url: str = "https://shelf.example"
    collections: tuple[str, ...] = ("films",)
    headers: dict[str, str] = Field(default_factory=dict)
    retry: Retry = Retry()
    assets: int = 2
    pending: int = 0
    failed: int = 0
    spoilt: int = 0
    unreadable: int = 0
    broken: str | None = None
    mishap: Mishap | None = None
    diary: bool = False

    @field_validator("base_url")
    @classmethod
    def _a_web_address(cls, url: str) -> str:
        if not url.startswith(("http", "$")):
            raise ValueError("should be a web address")
        return url

    def open(self) -> Shelf:
        return Diary(self) if self.diary else Shelf(self)


class Shelf(MemorySource):
    """Every asset has one video segment of four dimensions."""

    def __init__(self, settings: ShelfSettings) -> None:
        counts = {
            AssetState.READY: settings.assets,
            AssetState.PENDING: settings.pending,
            AssetState.FAILED: settings.failed,
        }
        states = {f"{state}-{number}": state for state, count in counts.items() for number in range(count)}
        super().__init__({collection: map(_asset, states) for collection in settings.collections})
        self.states = states
        self.settings = settings

    async def scan(self, collection: str) -> AsyncIterator[Listing]:
        await self._mishap()
        if collection == self.settings.broken:
            raise SourceError("503 for an hour")
        async for listing in super().scan(collection):
            yield listing

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
        async for asset in super().pull(collection, listings):
            self.usage.bytes += 1_000_000
            number = int(asset.asset_id.rpartition("-")[2])
            if number < self.settings.unreadable:
                yield Rejected(asset.asset_id, Reason.UNREADABLE, "503 for an hour")
            elif number < self.settings.spoilt:
                yield Rejected(asset.asset_id, Reason.MALFORMED, "garbage")
            else:
                yield asset

    async def _mishap(self) -> None:
        match self.settings.mishap:
            case "refused":
                raise CredentialsError("the shelf refused the key; check SHELF_KEY")
            case "crash":
                raise ZeroDivisionError(self.settings.api_key.get_secret_value())
            case "disk full":
                raise OSError(28, "No space left on device", "shelf.db")
            case "limited":
                until = datetime(2026, 11, 22, 0, 2, 50, tzinfo=UTC)
                raise LimitReachedError("the shelf is closed until 2026-11-22 00:02:50 UTC", until=until)
            case "interrupt":
                signal.raise_signal(signal.SIGINT)
            case "terminate":
                signal.raise_signal(signal.SIGTERM)
            case "hang":
                _hang()
            case "terminate in a task":
                task = asyncio.create_task(_terminated())
                await asyncio.Event().wait()
                await task

    async def aclose(self) -> None:
        if self.settings.mishap:
            _leave_a_trace()


class Diary(Shelf):
    """A shelf that can say what was added since there were so many assets."""

    capabilities = frozenset({Capability.CHANGED_SINCE})

    async def scan_changed(self, collection: str, since: str) -> AsyncIterator[Listing]:
        async for listing in self.scan(collection):
            if int(listing.asset_id.rpartition("-")[2]) >= int(since):
                yield listing

    async def cursor(self, collection: str) -> str:
        return str(len(self.assets[collection]))


async def _terminated() -> None:
    signal.raise_signal(signal.SIGTERM)


def _leave_a_trace() -> None:
    Path("closed").touch()


def _hang() -> None:
    """As no event loop should: nothing else is done meanwhile."""
    Path("hangs").touch()
    time.sleep(3_600)


class Wrapping(Settings):
    """What the shop makes of what it takes in."""

    colours: tuple[str, ...] = ()
    ribbon: Retry | None = None


class ShopSettings(ShelfSettings):
    """A shelf whose service takes media in, and has a search of its own."""

    submit_settings = Wrapping

    type: Literal["shelf", "shop"] = "shop"

    def open(self) -> Shop:
        return Shop(self)


class Shop(Shelf):
    """The address says what becomes of a file: it is ready at once, or ``stuck``, ``broken`` or ``closed``."""

    capabilities = frozenset({Capability.RETRIEVERS, Capability.SEARCH, Capability.SUBMIT})
    makes_collections = True
    note: ClassVar[str] = ""
    taken: ClassVar[list[tuple[str, str, SubmitOptions]]] = []
    asked: ClassVar[list[tuple[str, SourceQuery]]] = []
    retrieved: ClassVar[list[tuple[str, RetrieverQuery]]] = []
    closed: ClassVar[int] = 0

    def __init__(self, settings: ShelfSettings) -> None:
        super().__init__(settings)
        for collection, assets in self.assets.items():
            self.assets[collection] = {asset_id: _in_scenes(asset_id) for asset_id in assets}

    async def submit(self, collection: str, url: str, options: SubmitOptions) -> AsyncIterator[Submission]:
        self.taken.append((collection, url, options))
        if "closed" in url:
            raise LimitReachedError("the shop is closed until 2026-11-22 00:02:50 UTC")
        yield Submission(url, SubmissionState.FETCHING)
        if "broken" in url:
            yield Submission(url, SubmissionState.FAILED, detail="no video in it")
            return
        stem = url.rpartition("/")[2].partition(".")[0]
        asset_id = stem if stem in self.assets[collection] else "new-1"
        yield Submission(url, SubmissionState.INDEXING, asset_id, known="old" in url)
        if "stuck" in url:
            await asyncio.Event().wait()
        if "twice" in url:
            yield Submission(url, SubmissionState.SKIPPED, "ready-0", known=True, status="SKIPPED")
        else:
            yield Submission(url, SubmissionState.READY, asset_id, known="old" in url, status="DONE", note=self.note)

    async def search(self, collection: str, query: SourceQuery) -> Sequence[Hit]:
        self.asked.append((collection, query))
        hits = [
            Hit("ready-1", 1, 4.0, 6.0, "a surfer \x1b[31mrides"),
            Hit("ready-0", 2),
            Hit("not-synced", 3, 0.5, 2.25),
        ]
        return hits[: query.limit]

    async def retrieve(self, collection: str, query: RetrieverQuery) -> Sequence[Hit]:
        self.retrieved.append((collection, query))
        return [Hit("ready-1", 1, feature_id="ready-1-3"), Hit("ready-1", 2, collection="elsewhere")]

    async def aclose(self) -> None:
        Shop.closed += 1


def _asset(asset_id: str) -> Asset:
    feature = Feature(f"{asset_id}-segment", "video", {}, {"multimodal-v1": np.ones(4, np.float32)})
    return Asset(asset_id, "v1", features=(feature,))


class BoxSettings(DestinationSettings):
    """A destination in memory."""

    type: Literal["box"] = "box"
    url: SecretStr | None = None
    schema_name: str | None = Field(default=None, alias="schema")
    reachable: bool = True
    hidden: int | None = None
    name: str = "box"
    sealed: bool = False

    def open(self, sync_name: str) -> Destination:
        if not self.reachable:
            raise DestinationError(f"the box of {sync_name} cannot be reached; is it up?")
        box = Box.of(sync_name, self.name)
        box.hidden = self.hidden
        return cast("Destination", Sealed(box)) if self.sealed else box


class Box(MemoryDestination):
    """Remembered by the sync's name, and what it was asked. With `hidden`, it is a metered one of three places, and
    queries never see what was written to so many of them."""

    boxes: ClassVar[dict[str, Box]] = {}
    hidden: int | None = None

    def __init__(self, name: str = "box") -> None:
        super().__init__(name)
        self.asked: list[SearchQuery] = []

    @classmethod
    def of(cls, sync_name: str, name: str = "box") -> Box:
        """The sync's box of this name."""
        return cls.boxes.setdefault(sync_name if name == "box" else f"{sync_name}/{name}", cls(name))

    def delivered(self, wait: float = 0) -> Delivery:
        if self.hidden is None:
            return super().delivered(wait)
        places = [Visibility(f"index/{number}", 12, 9 if number < self.hidden else 12) for number in range(3)]
        return Delivery(214, 3, 41_200_000, 5_300, places)

    def search(self, query: SearchQuery) -> SearchAnswer:
        self.asked.append(query)
        if query.like == "nobody":
            raise ConfigurationError("no video feature of that id")
        row: dict[str, Any] = {
            "distance": 0.125,
            "feature_id": "ready-0-segment",
            "collection": "films",
            "start_time": 4.0,
            "end_time": 6.5,
            "text": "a surfer \x1b[31mrides\n[bold]a wave",
        }
        if query.like == "huge":
            row["extra"] = {
                "n": 10**30,
                "distance": math.nan,
                "half": "\ud800",
                "at": datetime(2026, 11, 1, tzinfo=UTC),
            }
        numbers = ",".join(["0.125"] * 1408)
        return SearchAnswer(f"SELECT * FROM video('[{numbers}]', {query.limit})", [row])


class Sealed:
    """A box that can be written, but that nothing else can be filled from."""

    capabilities = MemoryDestination.capabilities - {
        Capability.QUARANTINE,
        Capability.STORED_ASSETS,
        Capability.STORED_COLLECTIONS,
    }

    def __init__(self, box: Box) -> None:
        self._box = box

    def __getattr__(self, name: str) -> Any:
        return getattr(self._box, name)


def _in_scenes(asset_id: str) -> Asset:
    """Three scenes of two seconds each, the middle one described."""
    scenes = [
        Feature(f"{asset_id}-{start}", "video", {"start_time": start, "end_time": start + 2.5, **words})
        for start, words in ((1, {}), (3, {"description": "a wave"}), (5, {}))
    ]
    return Asset(asset_id, "v1", features=tuple(scenes), url=f"https://shop.example/{asset_id}.mp4")


def not_settings() -> NoReturn:
    """An entry point that points at the wrong thing."""
    raise AssertionError


def install(folder: Path, groups: Mapping[str, Mapping[str, str]], package: str = "ferry-fakes") -> None:
    """Write the metadata of an installed package with these entry points; `folder` has to be on ``sys.path``."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in points.items()) for group, points in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))


def install_fakes(folder: Path) -> None:
    """Install the shelf and the box."""
    install(
        folder,
        {
            "vectorferry.sources": {"shelf": f"{HERE}:ShelfSettings", "shop": f"{HERE}:ShopSettings"},
            "vectorferry.destinations": {"box": f"{HERE}:BoxSettings"},
        },
    )
