"""From a file to settings: what is accepted, and what every refusal says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.connector.cli.plugins import BoxSettings, ShelfSettings, install_fakes
from vectorferry import SyncSettings, load_settings, parse_settings
from vectorferry.connector.plugin import ConfigurationError, Modality

SECRET = "sk-canary-4711"

SMALLEST = """
name: media
source: {type: shelf, api_key: "${SHELF_KEY}"}
destinations:
  - {type: box, url: "${BOX_URL}"}
"""


@pytest.fixture(autouse=True)
def _plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path / "site")
    install_fakes(tmp_path / "site")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("sync.yaml")


def load(file: Path, text: str, name: str | None = None) -> SyncSettings:
    file.write_text(text)
    return load_settings(file, name)


def refusal(file: Path, text: str | bytes, name: str | None = None) -> str:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationError) as caught:
        load_settings(file, name)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_the_smallest_file_loads_without_any_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHELF_KEY", raising=False)
    settings = load(file, SMALLEST)
    assert isinstance(settings.source, ShelfSettings)
    assert settings.source.api_key.get_secret_value() == "${SHELF_KEY}"
    assert isinstance(settings.destinations[0], BoxSettings)
    assert settings.where == "sync.yaml"


def test_settings_are_the_same_from_a_dagster_component_file(file: Path) -> None:
    indented = SMALLEST.strip().replace("\n", "\n  ")
    component = f"type: vectorferry.dagster.VectorSync\nattributes:\n  {indented}\n"
    assert load(file, component) == load(file, SMALLEST)


def test_modalities_are_mapped_by_name(file: Path) -> None:
    settings = load(
        file,
        SMALLEST + "modalities:\n  video:\n    columns: {author: {path: metadata.author}}\n"
        "    vectors: {multimodal-v1: {metric: l2, storage: halfvec}}\n",
    )
    assert settings.modalities.columns(Modality.VIDEO)["author"].path == "metadata.author"
    assert settings.modalities.vector(Modality.VIDEO, "multimodal-v1").storage == "halfvec"


def test_one_of_several_syncs_is_picked_by_name(file: Path) -> None:
    both = f"{SMALLEST}---\n{SMALLEST.replace('media', 'archive')}"
    assert load(file, both, "archive").name == "archive"
    assert "several syncs (media, archive); choose one with --name NAME" in refusal(file, both)
    assert "it holds: media, archive" in refusal(file, both, "other")
    assert "it holds: media" in refusal(file, SMALLEST, "other")
    assert "names must be unique" in refusal(file, f"{SMALLEST}---\n{SMALLEST}", "media")


def test_a_wrong_destination_is_one_line(file: Path) -> None:
    refused = refusal(file, SMALLEST.replace("type: box", "type: bxo"))
    assert "destinations[0].type: unknown destination type" in refused
    assert len(refused.splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("api_key:", "api_kye:", "sync.yaml: source.api_kye: unknown key; did you mean api_key?"),
        ("api_key:", "api_kye:", "sync.yaml: source.api_key: is missing; add it"),
        ("name: media", "nmae: media", "sync.yaml: nmae: unknown key; did you mean name?"),
        ("url:", "ulr:", "sync.yaml: destinations[0].ulr: unknown key; did you mean url?"),
        ("url:", "shcema:", "sync.yaml: destinations[0].shcema: unknown key; did you mean schema?"),
        ("name: media", "name: 12", "sync.yaml: name: should be text; put it in quotes"),
        ("name: media", "name: Media!", "sync.yaml: name: should be a letter and then up to 47 letters"),
        ("type: shelf", "type: shelv", "sync.yaml: source.type: unknown source type (installed: "),
        ("type: shelf", "type: shelv", "did you mean shelf?"),
        ("type: shelf, ", "", "sync.yaml: source.type: is missing; add one of "),
        ("type: box", "type: 7", "sync.yaml: destinations[0].type: unknown destination type (installed: "),
        ("- {type", "  {type", "sync.yaml: destinations: should be a list"),
        ("api_key:", "retry: {atempts: 2}, api_key:", "source.retry.atempts: unknown key; did you mean attempts?"),
        ("api_key:", "retry: 3, api_key:", "sync.yaml: source.retry: should be a mapping"),
        ("api_key:", "base_url: ftp, api_key:", "sync.yaml: source.base_url: should be a web address"),
        ("name: media", "name: media\nschedule: [1]", "sync.yaml: schedule: should be text"),
        ("name: media", "name: media\nbatch: {rows: many}", "sync.yaml: batch.rows: should be a whole number"),
        ("name: media", "name: media\nbatch: {row: 1}", "sync.yaml: batch.row: unknown key; did you mean rows?"),
        (
            "name: media",
            "name: media\nmodalities: {video: {columns: {a: {pth: x}}}}",
            "sync.yaml: modalities.video.columns.a.pth: unknown key; did you mean path?",
        ),
        (
            "name: media",
            "name: media\nmodalities: {vidoe: {}}",
            "sync.yaml: modalities.vidoe: unknown key; did you mean video?",
        ),
    ],
)
def test_every_mistake_is_named_with_file_key_and_fix(file: Path, old: str, new: str, line: str) -> None:
    assert old in SMALLEST
    text = SMALLEST.replace("${SHELF_KEY}", SECRET).replace("${BOX_URL}", SECRET)
    assert line in refusal(file, text.replace(old, new, 1))


def test_a_wrong_key_of_a_mapping_is_named_as_it_stands_in_the_file(file: Path) -> None:
    limits = "source: {type: twelvelabs, requests_per_minute_by_kind: {lst: 5}}"
    told = refusal(file, f"name: media\n{limits}\ndestinations: [{{type: pgvector}}]\n")
    assert told.startswith("sync.yaml: source.requests_per_minute_by_kind.lst: should be 'list', 'read'")


def test_a_key_of_the_wrong_type_is_not_repeated(file: Path) -> None:
    assert refusal(file, SMALLEST.replace('"${SHELF_KEY}"', f"[{SECRET}]")) == (
        "sync.yaml: source.api_key: should be text; put it in quotes"
    )


@pytest.mark.parametrize("key", ["sk_4f1d98c2e7a6b3", "tlk_0AB1C2D3E4F5G6", "pcsk-7f3a-9c41-58d0"])
def test_a_secret_in_the_place_of_a_name_is_not_repeated(file: Path, key: str) -> None:
    as_key = refusal(file, SMALLEST.replace("api_key", key))
    as_names = refusal(file, f"name: {key}\n---\nname: films\n")
    assert key not in as_key + as_names
    assert "sync.yaml: source.***: unknown key, not shown since it looks like a secret" in as_key
    assert "holds several syncs (***, films)" in as_names


def test_many_mistakes_are_cut_short(file: Path) -> None:
    lines = refusal(file, SMALLEST + "".join(f"extra_{n}: 1\n" for n in range(8))).splitlines()
    assert len(lines) == 6
    assert lines[-1] == "sync.yaml: … and 3 more"


def test_a_key_with_terminal_codes_is_shown_without_them(file: Path) -> None:
    assert "\x1b" not in refusal(file, SMALLEST + '"\\e[31mred": 1\n')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "sync.yaml: empty; run `vectorferry init`"),
        ("- a\n- b\n", "sync.yaml: should be a mapping"),
        ("attributes: 3\n", "sync.yaml: should be a mapping"),
        (f"name: media\nname: {SECRET}\n", "sync.yaml: line 2, column 1: this key is given twice"),
        (f"name: [{SECRET}\n", "sync.yaml: line 2, column 1: not valid YAML"),
        (f"name: '{SECRET}\n", "not valid YAML"),
        (f"api_key: *{SECRET}\n", "sync.yaml: line 1, column 10: aliases (*name) are not read"),
        (f"api_key: !!python/object:os.system {SECRET}\n", "not valid YAML"),
        ("name: 2026-99-99\n", "sync.yaml: a number or date that is none; put it in quotes"),
        (f"{{[{SECRET}]: 1}}", "not valid YAML"),
        (b"name: \xff\xfe\n", "sync.yaml: not readable as UTF-8 text"),
        ("[" * 20_000, "sync.yaml: nested too deeply"),
        ("# " + "x" * 300_000, "sync.yaml: larger than 256,000 bytes"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_without_quoting_it(
    file: Path, text: str | bytes, message: str
) -> None:
    assert message in refusal(file, text)


def test_a_missing_file_says_how_to_make_one(file: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"sync\.yaml: no such file; run `vectorferry init`.*-c FILE"):
        load_settings(file)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(tmp_path)


def test_a_tree_from_elsewhere_names_that_place() -> None:
    tree: dict[str, Any] = {"name": "media", "source": {"type": "shelf"}, "destinations": [{"type": "box"}]}
    with pytest.raises(ConfigurationError, match=r"^defs\.yaml: source\.api_key: is missing"):
        parse_settings(tree, "defs.yaml")
    with pytest.raises(ConfigurationError, match=r"destinations: has too few entries; add one"):
        parse_settings({**tree, "source": {"type": "shelf", "api_key": "x"}, "destinations": []}, "defs.yaml")
