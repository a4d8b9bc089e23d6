"""``vectorferry doctor``: whether a sync would get anywhere, and what to do where not."""

from __future__ import annotations

import os
from functools import partial
from typing import Final

from rich.console import Console

from vectorferry.connector._config import load_settings
from vectorferry.connector._engine import run_doctor
from vectorferry.connector._protocols._destination import Health
from vectorferry.connector._reports._checkup import Checkup
from vectorferry.connector.cli._console import end_with, plain
from vectorferry.connector.cli._options import DEFAULT_CONFIG, AsJson, ConfigFile, SyncName

MARKS: Final = {Health.GOOD: "✔", Health.NOTE: "!", Health.FAILED: "✘"}
STYLES: Final = {Health.GOOD: "green", Health.NOTE: "yellow", Health.FAILED: "red"}


def doctor(config: ConfigFile = DEFAULT_CONFIG, name: SyncName = None, as_json: AsJson = False) -> None:
    """Look whether a sync would get anywhere: the file, its variables, the key, the databases. Changes nothing."""
    settings = load_settings(config, name)
    checkup = run_doctor(settings, os.environ)
    end_with(checkup, partial(show_checkup, where=plain(config)), as_json=as_json)


def show_checkup(checkup: Checkup, console: Console, *, where: str) -> None:
    """A line per diagnosis, and a longer one's further lines below it."""
    _line(console, Health.GOOD, f"configuration {where}: sync {plain(checkup.sync)}")
    for part, diagnoses in checkup.parts.items():
        for diagnosis in diagnoses:
            first, *more = diagnosis.text.splitlines()
            _line(console, diagnosis.health, f"{plain(part)}: {plain(first)}")
            for line in more:
                console.print(f"    {plain(line)}", markup=False, soft_wrap=True)


def _line(console: Console, health: Health, text: str) -> None:
    console.print(MARKS[health], style=STYLES[health], end=" ")
    console.print(text, markup=False, soft_wrap=True)
