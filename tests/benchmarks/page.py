"""docs/benchmarks.md: its tables and plots are made from the figures in docs/benchmarks, each beside its command.

python -m tests.benchmarks.page        makes them anew
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from .figures import bars, lines

__all__ = ["PAGE", "ROOT", "exponent", "generated", "read_figures", "write_all", "write_figures"]

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "benchmarks.md"
_FIGURES: Final = ROOT / "docs" / "benchmarks"
_WRONG: Final = {"missing": "missing", "extra": "extra", "stale": "out of date", "twice": "twice"}
_STEPS: Final = {"first": "first load", "again": "unchanged", "changed": "1 % changed", "deleted": "10 % gone"}


def read_figures(name: str) -> Any:
    """What is kept of a benchmark."""
    return json.loads((_FIGURES / f"{name}.json").read_text())


def write_figures(name: str, figures: Mapping[str, Any]) -> None:
    """Keep the figures of a benchmark, and make its part of the page anew."""
    _FIGURES.mkdir(exist_ok=True)
    (_FIGURES / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    write_all()


def write_all() -> None:
    """Make the tables and plots anew from the figures that are kept."""
    for path, text in generated().items():
        path.write_text(text)


def generated() -> dict[Path, str]:
    """What the page and its pictures are, by path, according to the figures."""
    peers, growth = read_figures("peers"), read_figures("growth")
    page = _between_marks(PAGE.read_text(), "peers", _peers(peers))
    page = _between_marks(page, "growth", _growth(growth))
    images = ROOT / "docs" / "images"
    return {PAGE: page, images / "peers.svg": _peers_plot(peers), images / "growth.svg": _growth_plot(growth)}


def _between_marks(page: str, name: str, text: str) -> str:
    marks = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- end -->)", flags=re.DOTALL)
    if not marks.search(page):
        raise ValueError(f"{PAGE.name}: no place for the figures of {name}")
    return marks.sub(lambda match: match[1] + text + match[2], page)


def _about(about: Mapping[str, Any]) -> str:
    machine = (
        f"{about['cpus']} CPUs ({about['cpu']}), {about['memory_gb']} GB, {about['system']}, Python {about['python']}"
    )
    return f"{about['date']}, {machine}; {about['server']}; load {about['load']:.1f} at the beginning.\n"


def _peers(figures: Mapping[str, Any]) -> str:
    about, peers = figures["about"], figures["peers"].values()
    measured, refused = [peer for peer in peers if "steps" in peer], [peer for peer in peers if "refused" in peer]
    lines = [_about(about), f"{about['rows']:,} rows of {about['dimension']} numbers.\n"]
    for store in dict.fromkeys(peer["store"] for peer in measured):
        into = [peer for peer in measured if peer["store"] == store]
        seconds = f"\n**Into {store}**: seconds, and in brackets CPU seconds of the client and of Postgres."
        lines += [seconds if store == "Postgres" else f"{seconds} Each answer waits {about['latency_ms']} ms.", ""]
        lines += [_row("", *_STEPS.values(), "memory", "load"), _row(*["---"] * 7)]
        lines += [_row(peer["title"], *_spent_and_memory(peer)) for peer in into]
        lines += ["\nRows that are wrong afterwards (missing, extra, out of date, twice):\n", ""]
        lines += [
            _row("", "unchanged rows", "what is gone", *_STEPS.values(), "killed", "update killed"),
            _row(*["---"] * 9),
        ]
        lines += [_row(peer["title"], peer["again"], peer["gone"], *_wrong(peer)) for peer in into]
        lines += [words for peer in into for words in _failures(peer)]
    lines += ["\nVersions: " + "; ".join(peer["versions"] for peer in measured) + "."]
    if refused:
        lines += ["\nNot measured:\n", *(f"- {peer['title']}: {peer['refused']}" for peer in refused)]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _spent(step: Mapping[str, Any]) -> str:
    return f"{step['seconds']:.2f} ({step['cpu']:.2f} + {step['server_cpu']:.2f})"


def _spent_and_memory(peer: Mapping[str, Any]) -> list[str]:
    return [*(_spent(peer["steps"][step]) for step in _STEPS), _memory(peer), f"{peer['load']:.0f}"]


def _memory(peer: Mapping[str, Any]) -> str:
    return f"{max(peer['steps'][step]['megabytes'] for step in _STEPS):.0f} MB"


def _wrong(peer: Mapping[str, Any]) -> list[str]:
    steps = peer["steps"]
    each = [*(steps[step]["wrong"] for step in _STEPS), steps["killed first"], steps["killed update"]]
    return [_wrong_rows(wrong) + (", and fails" if wrong.get("failed") else "") for wrong in each]


def _wrong_rows(wrong: Mapping[str, Any]) -> str:
    return ", ".join(f"{wrong[kind]:,} {name}" for kind, name in _WRONG.items() if wrong[kind]) or "0"


def _failures(peer: Mapping[str, Any]) -> list[str]:
    """What was said where the run after a kill did not get to its end."""
    said = [step.get("failed") for name, step in peer["steps"].items() if name.startswith("killed")]
    return [f"\n{peer['title']}, run again after the kill, said: `{words}`" for words in said if words]


def _peers_plot(figures: Mapping[str, Any]) -> str:
    """CPU of client and server for each row of the source, in microseconds."""
    rows = {}
    for peer in figures["peers"].values():
        if "steps" in peer:
            title = peer["title"] if peer["store"] == "Postgres" else f"{peer['title']} ({peer['store']})"
            rows[title.replace("(Pinecone)", "→ Pinecone")] = {
                _STEPS[step]: (peer["steps"][step]["cpu"] + peer["steps"][step]["server_cpu"])
                / figures["about"]["rows"]
                * 1e6
                for step in _STEPS
            }
    return bars(rows, "CPU µs a row")


def exponent(figures: Sequence[Mapping[str, float]], decades: int = 2) -> float:
    """How CPU grows with the features: the slope of a line through the logarithms of the largest sizes."""
    largest = figures[-decades - 1 :]
    slope, _ = np.polyfit(np.log([each["features"] for each in largest]), np.log([*map(_all_cpu, largest)]), 1)
    return float(slope)


def _all_cpu(figures: Mapping[str, float]) -> float:
    return figures["cpu"] + figures["server_cpu"]


def _growth(figures: Mapping[str, Any]) -> str:
    heads = (
        "",
        "features",
        "seconds",
        "CPU",
        "CPU of Postgres",
        "CPU µs a feature",
        "memory",
        "requests",
        "exponent",
        "at last",
    )
    lines = [_about(figures["about"]), "", _row(*heads), _row(*["---"] * len(heads))]
    for leg, measured in figures["legs"].items():
        for number, each in enumerate(measured):
            last = each is measured[-1]
            lines.append(
                _row(
                    leg if number == 0 else "",
                    f"{each['features']:,}",
                    f"{each['seconds']:,.2f}",
                    f"{each['cpu']:,.2f}",
                    f"{each['server_cpu']:,.2f}" if ":" in leg else "–",
                    f"{_all_cpu(each) / each['features'] * 1e6:,.0f}",
                    f"{each['megabytes']:,.0f} MB",
                    f"{each['requests']:,.0f}" if each.get("requests") else "–",
                    f"{exponent(measured):.2f}" if last else "",
                    f"{exponent(measured, decades=1):.2f}" if last else "",
                )
            )
    return "\n".join(lines) + "\n"


def _growth_plot(figures: Mapping[str, Any]) -> str:
    legs = figures["legs"]

    def panel(quantity: Callable[[Mapping[str, float]], float]) -> dict[str, list[tuple[float, float]]]:
        points = {leg: [(each["features"], quantity(each)) for each in measured] for leg, measured in legs.items()}
        return {
            leg: [point for point in line if point[1] > 0] for leg, line in points.items() if any(y for _, y in line)
        }

    return lines(
        {
            "seconds, by features": panel(lambda each: each["seconds"]),
            "CPU seconds, Postgres included": panel(_all_cpu),
            "MB of memory at most, beyond the beginning": panel(lambda each: each["megabytes"]),
            "requests over HTTP": panel(lambda each: each.get("requests", 0)),
        }
    )


if __name__ == "__main__":
    write_all()
