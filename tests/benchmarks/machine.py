"""On what, with what and when something was measured."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["about_this_run"]


def about_this_run() -> dict[str, Any]:
    """Date, machine and versions, as a page of figures has to say them."""
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpus": os.cpu_count(),
        "cpu": models[0] if models else platform.machine(),
        "memory_gb": round(memory[0] / 1024**2) if memory else None,
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "vectorferry": version("vectorferry"),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
