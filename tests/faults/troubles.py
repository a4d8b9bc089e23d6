"""Everything that is done to a sync here: what the source answers, and where the connections to Postgres are cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final

from connector.sandbox import (
    DropField,
    DuplicateRows,
    Fault,
    Garbage,
    Html,
    Reset,
    SetField,
    ShiftRows,
    Stall,
    Status,
    Truncate,
    Vanish,
)

from .proxy import Cut

__all__ = ["ONE_OF_EACH", "TROUBLES", "Trouble", "gone_after"]

LIST: Final = "assets.list"
READ: Final = "assets.features"
VECTORS: Final = "features.get"


@dataclass(frozen=True)
class Trouble:
    """One thing that goes wrong during one sync: rules for the source, or a cut of the connections to Postgres."""

    name: str
    kind: str
    rules: tuple[Fault, ...] = ()
    cut: Cut | None = None

    def later(self, by: int) -> Trouble:
        """The same, but so many requests (or pieces of a COPY) later."""
        rules = tuple(rule.model_copy(update={"nth": rule.nth + by}) for rule in self.rules)
        return replace(self, name=f"{self.name}, {by} later", rules=rules, cut=self._cut_later(by))

    def _cut_later(self, by: int) -> Cut | None:
        return replace(self.cut, after=self.cut.after + by) if self.cut and self.cut.at == COPY else self.cut


def source(name: str, do: Any, *routes: str, **rule: Any) -> list[Trouble]:
    """One trouble per route; by default it happens to the second request, once."""
    rule = {"nth": 2, "times": 1, **rule}
    return [Trouble(f"{name} ({route})", name, (Fault(route=route, do=do, **rule),)) for route in routes]


def cut(name: str, at: bytes, **how: Any) -> Trouble:
    """Connections to Postgres are cut."""
    return Trouble(name, name, cut=Cut(at, **how))


COPY: Final = b"COPY "
COMMIT: Final = b"COMMIT\0"
ALWAYS: Final = {"times": None}

TROUBLES: Final = (
    *source("429", Status(status=429), LIST, READ, VECTORS),
    *source("429 with Retry-After", Status(status=429, retry_after=1), VECTORS),
    *source("429 all the time", Status(status=429), LIST, READ, VECTORS, **ALWAYS),
    *source("500", Status(status=500), LIST, READ, VECTORS),
    *source("500 all the time", Status(status=500), LIST, READ, VECTORS, **ALWAYS),
    *source("503", Status(status=503), LIST, READ, VECTORS),
    *source("503 all the time", Status(status=503), LIST, READ, VECTORS, **ALWAYS),
    *source("reset before the answer", Reset(), LIST, READ, VECTORS),
    *source("reset in mid-answer", Reset(when="midway"), LIST, READ, VECTORS),
    *source("reset all the time", Reset(when="midway"), LIST, READ, VECTORS, **ALWAYS),
    *source("timeout", Stall(seconds=2), LIST, READ, VECTORS),
    *source("truncated JSON", Truncate(), LIST, READ, VECTORS),
    *source("truncated JSON all the time", Truncate(), LIST, READ, VECTORS, **ALWAYS),
    *source("an answer shorter than announced", Truncate(length="short"), LIST, READ, VECTORS),
    *source("HTML", Html(), LIST, READ, VECTORS),
    *source("HTML all the time", Html(), LIST, READ, VECTORS, **ALWAYS),
    *source("bytes that mean nothing", Garbage(), LIST, READ, VECTORS),
    *source("ids of the wrong type", SetField(field="asset_id", value=[1]), LIST, READ, VECTORS),
    *source("features of the wrong type", SetField(field="features", value="none"), READ),
    *source("vectors of the wrong type", SetField(field="vectors", value=7), VECTORS),
    *source("numbers that are text", SetField(field="multimodal-v1", value=["one", "two"]), VECTORS),
    *source("ids missing", DropField(field="asset_id"), LIST, READ, VECTORS),
    *source("feature ids missing", DropField(field="feature_id"), READ, VECTORS),
    *source("rows missing", DropField(field="results"), LIST),
    *source("an id twice", DuplicateRows(), LIST, READ),
    *source("rows shifted back", ShiftRows(rows=1), LIST),
    *source("rows shifted forward", ShiftRows(rows=-1), LIST),
    *source("an asset vanishes", Vanish(), READ, VECTORS),
    *source("the key is revoked", Status(status=401), LIST, READ, VECTORS, **ALWAYS),
    cut("cut in mid-COPY", COPY, after=2),
    Trouble(
        "cut in mid-COPY, again and again", "cut in mid-COPY, again and again", cut=Cut(COPY, after=2, times=1_000)
    ),
    cut("frozen in mid-COPY, then cut", COPY, after=2, frozen=0.2),
    Trouble(
        "frozen and cut in mid-COPY, twice",
        "frozen and cut in mid-COPY, twice",
        cut=Cut(COPY, after=2, frozen=0.1, times=2),
    ),
    cut("cut before COMMIT arrives", COMMIT),
    cut("cut before the answer to COMMIT", COMMIT, arrives=True),
    Trouble(
        "cut before the answer to COMMIT, again and again",
        "cut before the answer to COMMIT, again and again",
        cut=Cut(COMMIT, arrives=True, times=1_000),
    ),
    cut("frozen in mid-COMMIT, then cut", COMMIT, frozen=0.2),
    Trouble(
        "frozen before the answer to COMMIT, then cut",
        "frozen before the answer to COMMIT, then cut",
        cut=Cut(COMMIT, arrives=True, frozen=0.2),
    ),
)


def gone_after(pieces: int) -> Trouble:
    """Postgres hears so many pieces of what a sync sends, and then nothing any more: as when it is killed there."""
    return cut(f"gone after {pieces} pieces", b"", after=pieces, for_good=True)


def _one_of_each() -> Iterator[Trouble]:
    """Each kind once, with one route after the other."""
    for turn, (_, group) in enumerate(groupby(TROUBLES, key=lambda trouble: trouble.kind)):
        same = list(group)
        yield same[turn % len(same)]


ONE_OF_EACH: Final = tuple(_one_of_each())
