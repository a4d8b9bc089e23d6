"""The command in this process: what it printed, how it ended, and that no key ever came out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # importing typer 0.25 touches names that click 8.5 retires
    from click.testing import CliRunner, Result
    from typer.main import get_command

from vectorferry.connector.cli._app import app

__all__ = ["KEY", "Command"]

KEY = "pc-canary-4711"
COMMANDS = get_command(app)
"""Made once: typer's own runner makes all of them anew for each that is run."""


class Command:
    """`vectorferry` with a configuration file in a directory. The sandboxes that it asks take `KEY`."""

    def __init__(self, directory: Path) -> None:
        self._config = directory / "vectorferry.yaml"

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Write the file anew."""
        self._config.write_text(yaml.safe_dump(settings))

    @property
    def text(self) -> str:
        """What is in the file."""
        return self._config.read_text()

    def run(self, command: str, *arguments: str) -> Result:
        """Run a command (``quarantine list``, say) to its end, whatever that is."""
        result = CliRunner().invoke(
            COMMANDS, [*command.split(), "-c", str(self._config), *arguments], terminal_width=100
        )
        assert KEY not in result.output
        return result

    def told(self, command: str, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
        """What a command that must end so tells with ``--json``."""
        result = self.run(command, *arguments, "--json")
        assert result.exit_code == exit_code, result.output
        answer: dict[str, Any] = json.loads(result.stdout)
        return answer

    def complaint(self, command: str, *arguments: str, exit_code: int = 1) -> str:
        """What a command that must fail so says on stderr: two lines at most."""
        result = self.run(command, *arguments)
        assert result.exit_code == exit_code, result.output
        assert "Traceback" not in result.output
        assert 1 <= len(result.stderr.splitlines()) <= 2, result.stderr
        return str(result.stderr)
