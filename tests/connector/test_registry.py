from __future__ import annotations

from pathlib import Path

import pytest

from tests.connector.cli.plugins import HERE, BoxSettings, ShelfSettings, install, install_fakes
from vectorferry.connector.plugin import ConfigurationError, destination_settings, source_settings


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_plugin_of_another_package_is_found_by_its_name(site: Path) -> None:
    install_fakes(site)
    assert source_settings("shelf") is ShelfSettings
    assert destination_settings("box") is BoxSettings


def test_an_unknown_type_names_the_known_ones_and_the_nearest(site: Path) -> None:
    install_fakes(site)
    with pytest.raises(ConfigurationError, match=r"unknown source type \(installed: .*shelf.*did you mean shelf\?"):
        source_settings("shelff")
    with pytest.raises(ConfigurationError, match=r"unknown destination type \(installed: .*box"):
        destination_settings("nothing like it")


@pytest.mark.parametrize("value", ["no_such_module_anywhere:Settings", f"{HERE}:NoSuchName", "this:that"])
def test_a_plugin_that_cannot_be_imported_names_its_package(site: Path, value: str) -> None:
    install(site, {"vectorferry.sources": {"broken": value}}, package="ferry-broken")
    (site / "this.py").write_text("raise RuntimeError('half installed')")
    with pytest.raises(ConfigurationError, match="plug-in broken of the package ferry-broken cannot be loaded"):
        source_settings("broken")


def test_a_plugin_that_is_no_settings_class_is_refused(site: Path) -> None:
    install(site, {"vectorferry.destinations": {"odd": f"{HERE}:not_settings", "wrong": f"{HERE}:ShelfSettings"}})
    for name in ("odd", "wrong"):
        with pytest.raises(ConfigurationError, match="not a subclass of DestinationSettings"):
            destination_settings(name)


def test_one_name_from_two_packages_is_refused(site: Path) -> None:
    install(site, {"vectorferry.sources": {"twin": f"{HERE}:ShelfSettings"}}, package="ferry-one")
    install(site, {"vectorferry.sources": {"twin": f"{HERE}:not_settings"}}, package="ferry-two")
    with pytest.raises(ConfigurationError, match=r"ferry-one, ferry-two"):
        source_settings("twin")


def test_the_same_plugin_listed_twice_is_one(site: Path) -> None:
    install(site, {"vectorferry.sources": {"twin": f"{HERE}:ShelfSettings"}}, package="ferry-one")
    install(site, {"vectorferry.sources": {"twin": f"{HERE}:ShelfSettings"}}, package="ferry-two")
    assert source_settings("twin") is ShelfSettings
