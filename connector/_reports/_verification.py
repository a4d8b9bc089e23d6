"""What a check of a whole sync found: counts, and the first of the records by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from vectorferry.connector._model._discrepancies import Difference, Discrepancy
from vectorferry.connector._protocols._destination import SecurityCheck
from vectorferry.connector._reports._display import Displayed, DisplayedTable
from vectorferry.connector._reports._summary import Summary

NAMED: Final = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One record of the destination called `where` that is not as `against` has it: its own books (``ledger``), the
    source (``source``), or the destination of that name."""

    where: str
    against: str
    record: Discrepancy

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"where": self.where, "against": self.against, **asdict(self.record)}


@dataclass(slots=True)
class CollectionReport:
    """One collection: every difference counted by place, by what it was compared with and by kind, and the first 100 of
    each count named. `notes` say what could not be compared. The source no longer has one that is `gone`; no book names
    one that is `unrecorded`, and nothing that is stored of it is ours to remove; one with an `error` could not be
    compared with the source."""

    assets: int = 0
    gone: bool = False
    unrecorded: bool = False
    counts: Counter[tuple[str, str, Difference]] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def in_step(self) -> bool:
        """Whether nothing differs, as far as could be compared, and all could."""
        return not self.counts and not self.error

    @property
    def is_mendable(self) -> bool:
        """Whether something differs that a repair mends."""
        return bool(self.counts) and (self.gone or not self.unrecorded)

    def add(self, finding: Finding) -> None:
        """Count one, and name it if few have been."""
        kind = (finding.where, finding.against, finding.record.kind)
        self.counts[kind] += 1
        if self.counts[kind] <= NAMED:
            self.findings.append(finding)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        counts = [
            {"where": where, "against": against, "kind": kind, "records": number}
            for (where, against, kind), number in sorted(self.counts.items())
        ]
        findings = [finding.to_dict() for finding in self.findings]
        return {
            "assets": self.assets,
            "gone": self.gone,
            "unrecorded": self.unrecorded,
            "counts": counts,
            "findings": findings,
            "notes": self.notes,
            "error": self.error,
        }


@dataclass(slots=True, repr=False)
class Verification(Displayed):
    """Every collection of a sync. `repair` is what the sync that followed did, if one did."""

    sync: str
    collections: dict[str, CollectionReport] = field(default_factory=dict)
    repair: Summary | None = None
    seconds: float = 0.0

    @property
    def in_step(self) -> bool:
        """Whether nothing differed."""
        return all(report.in_step for report in self.collections.values())

    @property
    def exit_code(self) -> int:
        """0 when nothing differs, 1 when something does or could not be compared; after a repair, that of its sync,
        unless there is what no repair mends."""
        if self.repair is not None and not any(each.error or each.unrecorded for each in self.collections.values()):
            return self.repair.exit_code
        return 0 if self.in_step else 1

    def _headline(self) -> str:
        return f"Check of {self.sync}: exit code {self.exit_code} after {self.seconds:.1f} s"

    def _tables(self) -> Iterator[DisplayedTable]:
        assets = [(name, report.assets, report.counts.total()) for name, report in self.collections.items()]
        yield DisplayedTable("collection", ("assets", "differences"), assets)
        findings = [finding for report in self.collections.values() for finding in report.findings]
        if findings:
            rows = [(each.record.asset_id, each.record.kind, each.where, each.against) for each in findings]
            yield DisplayedTable("asset", ("difference", "where", "against"), rows)
        if notes := [(note,) for report in self.collections.values() for note in (report.error, *report.notes) if note]:
            yield DisplayedTable("notes", (), notes)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "sync": self.sync,
            "collections": {name: report.to_dict() for name, report in self.collections.items()},
            "repair": self.repair.to_dict() if self.repair else None,
            "seconds": self.seconds,
            "exit_code": self.exit_code,
        }


@dataclass(frozen=True, slots=True, repr=False)
class SecurityReport(Displayed):
    """What others may do with what each destination of a sync holds. `exit_code` is 0 when nothing was found, or 1."""

    sync: str
    destinations: Mapping[str, SecurityCheck]

    @property
    def exit_code(self) -> int:
        """As that of a check of what is stored."""
        return 1 if any(check.findings for check in self.destinations.values()) else 0

    def _headline(self) -> str:
        return f"Security of {self.sync}: exit code {self.exit_code}"

    def _tables(self) -> Iterator[DisplayedTable]:
        for name, check in self.destinations.items():
            rows = [(each.subject, each.problem, each.remedy) for each in check.findings]
            yield DisplayedTable(name, ("problem", "remedy"), rows)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        checks = {name: asdict(check) for name, check in self.destinations.items()}
        return {"sync": self.sync, "destinations": checks, "exit_code": self.exit_code}
