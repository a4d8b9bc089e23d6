from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # importing typer 0.25 touches names that click 8.5 retires
    from click.testing import CliRunner, Result
    from typer.main import get_command

from tests.connector.cli.plugins import Box, install_fakes
from vectorferry.connector.cli._app import app

SECRET = "sk-canary-4711"
COMMANDS = get_command(app)
"""Made once: typer's own runner makes all of them anew for each that is run."""

Invoke = Callable[..., Result]


@pytest.fixture(autouse=True)
def _fakes(passable_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(passable_path / "site")
    install_fakes(passable_path / "site")
    monkeypatch.chdir(passable_path)
    monkeypatch.setenv("SHELF_KEY", SECRET)
    monkeypatch.setenv("BOX_URL", SECRET)
    monkeypatch.setattr(Box, "boxes", {})


@pytest.fixture
def configured() -> Callable[..., None]:
    """Writes vectorferry.yaml with these settings of the shelf and the box."""

    def write(shelf: str = "", box: str = "", name: str = "media") -> None:
        Path("vectorferry.yaml").write_text(
            f'name: {name}\nsource: {{type: shelf, api_key: "${{SHELF_KEY}}", {shelf}}}\n'
            f'destinations: [{{type: box, url: "${{BOX_URL}}", {box}}}]\n'
        )

    return write


@pytest.fixture
def vectorferry() -> Invoke:
    """Runs a command in this process; the canary in the environment must never come out."""

    def invoke(*arguments: str) -> Result:
        result = CliRunner().invoke(COMMANDS, arguments, terminal_width=80)
        assert SECRET not in result.output
        assert "\x1b" not in result.output
        return result

    return invoke
