"""Everything that is done to a sync here: what the source answers, and where the connections to Postgres are cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import Any, Final

from vectorferry.connector.sandbox import Fault, Garbage, Html, Reset, Stall, Status, Truncate
from vectorferry.connector.sandbox._faults import Action

from .media import Service
from .proxy import Cut

__all__ = [
    "ALWAYS",
    "CUTS",
    "Trouble",
    "gone_after",
    "one_of_each",
    "outages_of",
    "plausible_answers_of",
    "troubles_of",
    "wrong_answers_of",
]


@dataclass(frozen=True)
class Trouble:
    """One thing that goes wrong during one sync: rules for the source, or a cut of the connections to Postgres."""

    name: str
    kind: str
    rules: tuple[Fault, ...] = ()
    cut: Cut | None = None
    fails: bool = False
    """Whether the sync must not end as if it were done (0 or 3), wherever it is hit."""

    def __str__(self) -> str:
        return self.name

    def later(self, by: int) -> Trouble:
        """The same, but so many requests (or pieces of a COPY) later."""
        rules = tuple(rule.model_copy(update={"nth": rule.nth + by}) for rule in self.rules)
        return replace(self, name=f"{self.name}, {by} later", rules=rules, cut=self._cut_later(by))

    def _cut_later(self, by: int) -> Cut | None:
        return replace(self.cut, after=self.cut.after + by) if self.cut and self.cut.at == COPY else self.cut


def answers(name: str, do: Action, *routes: str, **rule: Any) -> list[Trouble]:
    """One trouble per route; by default it happens to the second request, once."""
    rule = {"nth": 2, "times": 1, **rule}
    return [Trouble(f"{name} ({route})", name, (Fault(route=route, do=do, **rule),)) for route in routes]


def failing(kind: str, *troubles: Trouble) -> list[Trouble]:
    """The same, of one kind; a sync that meets one of them has failed."""
    return [replace(trouble, kind=kind, fails=True) for trouble in troubles]


def _of_kind(kind: str, *troubles: Trouble) -> list[Trouble]:
    return [replace(trouble, kind=kind) for trouble in troubles]


def cut(name: str, at: bytes, **how: Any) -> Trouble:
    """Connections to Postgres are cut."""
    return Trouble(name, name, cut=Cut(at, **how))


COPY: Final = b"COPY "
COMMIT: Final = b"COMMIT\0"
ALWAYS: Final = {"times": None}


def troubles_of(service: Service) -> tuple[Trouble, ...]:
    """Everything that a service can do to a sync, and that its answers can be like."""
    return (*outages_of(service), *wrong_answers_of(service))


def outages_of(service: Service) -> tuple[Trouble, ...]:
    """What any service can do."""
    every, first, last = (service.listing, *service.reading), service.reading[0], service.reading[-1]
    return (
        *(_of_kind if service.recovers else failing)(
            "one asset is refused",
            *answers("403 for an asset", Status(status=403), first),
            *answers("404 for an asset", Status(status=404), first),
        ),
        *failing(
            "every asset is refused",
            *answers("403 for every asset", Status(status=403), first, **ALWAYS),
            *answers("403 in plain text for every asset", Status(status=403, body="text"), first, **ALWAYS),
            *answers("404 for every asset", Status(status=404), first, **ALWAYS),
            *answers("410 for every asset", Status(status=410), first, **ALWAYS),
            *answers("400 for every asset", Status(status=400), first, **ALWAYS),
        ),
        *failing(
            "the list is refused",
            *answers("403 for the list", Status(status=403), service.listing, **ALWAYS),
            *answers("404 for the list", Status(status=404), service.listing, **ALWAYS),
        ),
        *answers("429", Status(status=429), *every),
        *answers("429 with Retry-After", Status(status=429, retry_after=1), last),
        *answers("429 all the time", Status(status=429), *every, **ALWAYS),
        *answers("429 for hours", Status(status=429, retry_after=7_200), *every, **ALWAYS),
        *answers("500", Status(status=500), *every),
        *answers("500 all the time", Status(status=500), *every, **ALWAYS),
        *answers("503", Status(status=503), *every),
        *answers("503 all the time", Status(status=503), *every, **ALWAYS),
        *answers("reset before the answer", Reset(), *every),
        *answers("reset in mid-answer", Reset(when="midway"), *every),
        *answers("reset all the time", Reset(when="midway"), *every, **ALWAYS),
        *answers("timeout", Stall(seconds=2), *every),
        *answers("truncated JSON", Truncate(), *every),
        *answers("truncated JSON all the time", Truncate(), *every, **ALWAYS),
        *answers("an answer shorter than announced", Truncate(length="short"), *every),
        *answers("HTML", Html(), *every),
        *answers("HTML all the time", Html(), *every, **ALWAYS),
        *answers("bytes that mean nothing", Garbage(), *every),
        *answers("the key is revoked", Status(status=401), *every, **ALWAYS),
    )


def wrong_answers_of(service: Service) -> tuple[Trouble, ...]:
    """Answers that are well-formed, and not what the service documents."""
    return tuple(chain.from_iterable(answers(name, do, *routes) for name, do, routes in service.wrong))


def plausible_answers_of(service: Service, **rule: Any) -> tuple[Trouble, ...]:
    """Answers that hold less than there is, or something else, and look right; by default once."""
    return tuple(chain.from_iterable(answers(name, do, *routes, **rule) for name, do, routes in service.plausible))


CUTS: Final = (
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


def one_of_each(troubles: Iterable[Trouble]) -> Iterator[Trouble]:
    """Each kind once, with one route after the other."""
    for turn, (_, group) in enumerate(groupby(troubles, key=lambda trouble: trouble.kind)):
        same = list(group)
        yield same[turn % len(same)]
