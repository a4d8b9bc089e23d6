"""Small plug-ins for tests of configuration and command line, and a way to install them for one test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NoReturn

from pydantic import Field, SecretStr, field_validator

from connector import Destination, DestinationSettings, Settings, Source, SourceSettings, StopError

HERE = "tests.connector.cli.plugins"


class Retry(Settings):
    attempts: int = 3


class ShelfSettings(SourceSettings):
    """A source that can be described but not read."""

    type: Literal["shelf"] = "shelf"
    api_key: SecretStr
    base_url: str = "https://shelf.example"
    collections: tuple[str, ...] = ()
    headers: dict[str, str] = Field(default_factory=dict)
    retry: Retry = Retry()

    @field_validator("base_url")
    @classmethod
    def _a_web_address(cls, url: str) -> str:
        if not url.startswith(("http", "$")):
            raise ValueError("should be a web address")
        return url

    def open(self) -> Source:
        raise StopError("the shelf is empty")


class BoxSettings(DestinationSettings):
    """A destination that can be described but not written."""

    type: Literal["box"] = "box"
    url: SecretStr | None = None
    schema_name: str | None = Field(default=None, alias="schema")

    def open(self, sync_name: str) -> Destination:
        raise StopError(f"the box of {sync_name} is locked")


def not_settings() -> NoReturn:
    """An entry point that points at the wrong thing."""
    raise AssertionError


def install(folder: Path, groups: Mapping[str, Mapping[str, str]], package: str = "ferry-fakes") -> None:
    """Write the metadata of an installed package with these entry points; `folder` has to be on ``sys.path``."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in points.items()) for group, points in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))


def install_fakes(folder: Path) -> None:
    """Install the shelf and the box."""
    install(
        folder,
        {
            "vectorferry.sources": {"shelf": f"{HERE}:ShelfSettings"},
            "vectorferry.destinations": {"box": f"{HERE}:BoxSettings"},
        },
    )
