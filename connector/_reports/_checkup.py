"""What `vectorferry doctor` found: a line per thing looked at, with what to do where something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from vectorferry.connector._model._errors import VectorferryError
from vectorferry.connector._protocols._destination import Diagnosis, Health
from vectorferry.connector._reports._display import Displayed, DisplayedTable


@dataclass(slots=True, repr=False)
class Checkup(Displayed):
    """Diagnoses of the parts of a sync, in the order in which a run needs them.

    `exit_code` is 0, or that of the worst error among what was found to be wrong, as a sync would end.
    """

    sync: str
    parts: dict[str, list[Diagnosis]] = field(default_factory=dict)
    exit_code: int = 0

    def look_at(self, part: str, ask: Callable[[], Iterable[Diagnosis]]) -> None:
        """Add what is said of a part; an error that ends it is its last diagnosis."""
        diagnoses = self.parts.setdefault(part, [])
        try:
            for diagnosis in ask():
                diagnoses.append(diagnosis)
                if diagnosis.health is Health.FAILED:
                    self.exit_code = max(self.exit_code, 1)
        except VectorferryError as error:
            diagnoses.append(Diagnosis(str(error), Health.FAILED))
            self.exit_code = max(self.exit_code, error.exit_code)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: sync, exit_code, parts {name: [{text, health}]}."""
        parts = {
            name: [{"text": each.text, "health": each.health.value} for each in part]
            for name, part in self._diagnoses()
        }
        return {"sync": self.sync, "exit_code": self.exit_code, "parts": parts}

    def _diagnoses(self) -> Iterator[tuple[str, list[Diagnosis]]]:
        yield from ((name, diagnoses) for name, diagnoses in self.parts.items() if diagnoses)

    def _headline(self) -> str:
        return f"Checkup of {self.sync}: exit code {self.exit_code}"

    def _tables(self) -> Iterator[DisplayedTable]:
        for name, diagnoses in self._diagnoses():
            yield DisplayedTable(name, (), [(f"{each.health.value}: {each.text}",) for each in diagnoses])
