"""What a sync of so much would take, leg by leg."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from vectorferry.connector._protocols._scale import Leg, Load
from vectorferry.connector._reports._display import Displayed, DisplayedTable
from vectorferry.connector._reports._progress import in_words

DAY: Final = 86_400


@dataclass(frozen=True, slots=True, repr=False)
class Scale(Displayed):
    """A first sync of a load: `reading` has the legs of the source, `writing` those of each destination by its name.

    `measured`: the load is like what is stored, and not only what is usual.
    """

    sync: str
    load: Load
    measured: bool
    reading: Sequence[Leg]
    writing: Mapping[str, Sequence[Leg]]

    @property
    def legs(self) -> Sequence[Leg]:
        """All of them, in their order."""
        return [*self.reading, *(leg for legs in self.writing.values() for leg in legs)]

    @property
    def seconds(self) -> float:
        """From the first request to the last index: reading and writing go on side by side, destinations too, and
        indexes are built one after the other."""
        reading = sum(leg.seconds for leg in self.reading)
        return max(map(_lane_seconds(reading), self.writing.values()), default=reading)

    @property
    def dollars(self) -> float | None:
        """What is known of the price; None where nothing is."""
        known = [leg.dollars for leg in self.legs if leg.dollars is not None]
        return sum(known) if known else None

    @property
    def misfits(self) -> Sequence[str]:
        """What will not fit, or not as it is set."""
        return [f"{leg.name}: {sentence}" for leg in self.legs for sentence in leg.misfits]

    def _headline(self) -> str:
        return f"{self.sync} at {self.load.features:,} features: {self.seconds / 3600:,.1f} h"

    def _tables(self) -> Iterator[DisplayedTable]:
        rows = [(leg.name, f"{leg.seconds / 3600:,.1f}", leg.bound, leg.requests, leg.bytes) for leg in self.legs]
        yield DisplayedTable("leg", ("hours", "bound by", "requests", "bytes"), rows)
        if self.misfits:
            yield DisplayedTable("misfits", (), [(each,) for each in self.misfits])

    def to_dict(self) -> Mapping[str, Any]:
        """Plain JSON values. Keys are only ever added.

        ::

            sync, features, assets, seconds, dollars, misfits, measured
            vectors  [{modality, name, dimension, rows}]
            legs     [{destination, name, kind, seconds, bound, requests, bytes, stored_bytes, memory_bytes, dollars,
                     misfits}]; the destination is null of what is read
        """
        named = [(None, self.reading), *self.writing.items()]
        return {
            "sync": self.sync,
            "features": self.load.features,
            "assets": self.load.assets,
            "seconds": self.seconds,
            "dollars": self.dollars,
            "misfits": self.misfits,
            "measured": self.measured,
            "vectors": [asdict(each) for each in self.load.vectors],
            "legs": [{"destination": name, **asdict(leg)} for name, legs in named for leg in legs],
        }


def long_time(seconds: float) -> str:
    """``40 s``, ``3 h 20 min``, ``11.6 days``."""
    return f"{seconds / DAY:,.1f} days" if seconds >= 3 * DAY else in_words(seconds)


def bytes_in_words(size: int | None) -> str:
    """``1.5 MB``, ``30.2 GB``, ``7.6 TB``; nothing of what is not known."""
    if size is None:
        return ""
    power, unit = next((each for each in ((12, "TB"), (9, "GB")) if size >= 10 ** each[0]), (6, "MB"))
    return f"{size / 10**power:,.1f} {unit}"


def _lane_seconds(reading: float) -> Callable[[Sequence[Leg]], float]:
    def seconds(legs: Sequence[Leg]) -> float:
        writing = sum(leg.seconds for leg in legs if leg.kind != "index")
        return max(reading, writing) + sum(leg.seconds for leg in legs if leg.kind == "index")

    return seconds
