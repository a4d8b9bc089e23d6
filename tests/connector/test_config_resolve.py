"""`${NAME}` is replaced when a run starts, everywhere a text stands, and never by way of an error message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.connector.cli.plugins import BoxSettings, ShelfSettings, install_fakes
from vectorferry import SyncSettings, parse_settings
from vectorferry.connector.plugin import ConfigurationError, resolve

SECRET = "sk-canary-4711"


@pytest.fixture(autouse=True)
def _plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install_fakes(tmp_path)


def settings(source: dict[str, Any] | None = None, box: dict[str, Any] | None = None) -> SyncSettings:
    tree = {
        "name": "media",
        "source": {"type": "shelf", "api_key": "${SHELF_KEY}", **(source or {})},
        "destinations": [{"type": "box", **(box or {})}],
    }
    return parse_settings(tree, "sync.yaml")


def shelf(resolved: SyncSettings) -> ShelfSettings:
    assert isinstance(resolved.source, ShelfSettings)
    return resolved.source


def url(resolved: SyncSettings) -> str:
    box = resolved.destinations[0]
    assert isinstance(box, BoxSettings)
    assert box.url
    return box.url.get_secret_value()


def refusal(unresolved: SyncSettings, environ: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        resolve(unresolved, environ)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_secrets_texts_lists_and_mappings_are_filled_in() -> None:
    unresolved = settings(
        {"base_url": "${BASE}", "collections": ["a", "${COLLECTION}"], "headers": {"x": "${BASE}"}}, {"schema": "${S}"}
    )
    environ = {"SHELF_KEY": SECRET, "BASE": "https://here", "COLLECTION": "b", "S": "lab"}
    resolved = resolve(unresolved, environ)
    assert shelf(resolved).api_key.get_secret_value() == SECRET
    assert shelf(resolved).base_url == "https://here"
    assert shelf(resolved).collections == ("a", "b")
    assert shelf(resolved).headers == {"x": "https://here"}
    assert resolved.destinations[0].model_dump(by_alias=True)["schema"] == "lab"
    assert SECRET not in repr(resolved)


def test_the_unresolved_settings_stay_as_they_are() -> None:
    unresolved = settings()
    resolve(unresolved, {"SHELF_KEY": SECRET})
    assert shelf(unresolved).api_key.get_secret_value() == "${SHELF_KEY}"


def test_settings_without_templates_are_returned_as_they_are() -> None:
    plain = settings({"api_key": SECRET})
    assert resolve(plain, {}) is plain


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("postgresql://user:${PW}@host/db", "postgresql://user:p$w@host/db"),
        ("${PW}${PW}", "p$wp$w"),
        ("$${PW}", "${PW}"),
        ("$PW and $", "$PW and $"),
        ("${NESTED}", "${PW}"),
    ],
)
def test_parts_escapes_and_values_that_look_like_templates(template: str, expected: str) -> None:
    environ = {"SHELF_KEY": "k", "PW": "p$w", "NESTED": "${PW}"}
    assert url(resolve(settings(box={"url": template}), environ)) == expected


def test_every_missing_variable_is_named_with_file_key_and_fix() -> None:
    assert refusal(settings(box={"url": "postgresql://user:${PW}@host/db"}), {}).splitlines() == [
        "sync.yaml: source.api_key: environment variable SHELF_KEY is not set; run `export SHELF_KEY=…` first",
        "sync.yaml: destinations[0].url: environment variable PW is not set; run `export PW=…` first",
    ]


def test_a_secret_in_the_place_of_a_variable_s_name_is_not_repeated() -> None:
    message = refusal(settings({"api_key": "${sk_4f1d98c2e7a6b3}"}), {})
    assert "sk_4f1d" not in message
    assert message.startswith(
        "sync.yaml: source.api_key: `${…}` takes the name of an environment variable; what stands"
    )


def test_an_empty_or_broken_value_is_refused() -> None:
    assert "source.api_key: the environment variable it names is empty" in refusal(settings(), {"SHELF_KEY": ""})
    assert "SHELF_KEY holds a line break" in refusal(settings(), {"SHELF_KEY": f"{SECRET}\n"})


@pytest.mark.parametrize("template", ["${", "${a-b}", "x${}y", "${UNCLOSED"])
def test_a_malformed_template_is_refused(template: str) -> None:
    message = refusal(settings(box={"url": template}), {"SHELF_KEY": "k"})
    assert message.startswith("sync.yaml: destinations[0].url: `${` without a variable name")


def test_a_value_is_validated_after_it_is_filled_in() -> None:
    message = refusal(settings({"base_url": "${BASE}"}), {"SHELF_KEY": "k", "BASE": SECRET})
    assert message == "sync.yaml: source.base_url: should be a web address"


def test_another_place_can_be_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^defs\.yaml: source\.api_key: "):
        resolve(settings(), {}, where="defs.yaml")


@pytest.mark.parametrize("allowed", ["", "BASE", "SHELF", "shelf_key", "SHELF_KEY_2, BASE"])
def test_only_allowed_variables_are_filled_in_where_there_is_a_list(allowed: str) -> None:
    environ = {"SHELF_KEY": SECRET, "VECTORFERRY_ALLOWED_VARIABLES": allowed}
    told = refusal(settings(), environ)
    assert "SHELF_KEY may not be named here" in told
    assert "VECTORFERRY_ALLOWED_VARIABLES" in told


def test_a_variable_that_is_not_allowed_is_not_told_to_exist() -> None:
    list_of_none = {"VECTORFERRY_ALLOWED_VARIABLES": "BASE"}
    assert refusal(settings(), list_of_none) == refusal(settings(), {**list_of_none, "SHELF_KEY": SECRET})


@pytest.mark.parametrize("allowed", ["SHELF_KEY", "BASE,SHELF_KEY", "BASE SHELF_*", "*"])
def test_allowed_variables_are_names_or_patterns(allowed: str) -> None:
    environ = {"SHELF_KEY": SECRET, "VECTORFERRY_ALLOWED_VARIABLES": allowed}
    assert shelf(resolve(settings(), environ)).api_key.get_secret_value() == SECRET
