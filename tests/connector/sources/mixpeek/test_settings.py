"""What users may set."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import SecretStr, ValidationError

from vectorferry.connector._config._registry import source_settings
from vectorferry.connector.http import RetryPolicy
from vectorferry.connector.plugin import ConfigurationError
from vectorferry.connector.sources.mixpeek import MixpeekSettings, MixpeekSource


def test_the_plug_in_is_found_by_its_name() -> None:
    assert source_settings("mixpeek") is MixpeekSettings


def test_the_smallest_settings_are_enough() -> None:
    settings = MixpeekSettings.model_validate({"type": "mixpeek"})
    assert settings.base_url == "https://api.mixpeek.com"
    assert settings.api_key.get_secret_value() == "${MIXPEEK_API_KEY}"


def test_opening_without_a_key_names_the_variable() -> None:
    with pytest.raises(ConfigurationError, match=r"source.api_key \(by default \$\{MIXPEEK_API_KEY\}\)"):
        MixpeekSettings().open()


def test_opening_makes_a_source_and_no_request() -> None:
    assert isinstance(MixpeekSettings(api_key=SecretStr("sk_1")).open(), MixpeekSource)


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"concurrency": 257},
        {"page_size": 0},
        {"page_size": 1001},
        {"requests_per_minute": 0},
        {"api_prefix": "/v2"},
        {"collections": [""]},
        {"base_url": "http://mixpeek.internal"},
        {"base_url": "api.mixpeek.com"},
        {"retry": {"attempts": 0}},
        {"retries": 3},
    ],
    ids=str,
)
def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MixpeekSettings.model_validate({"type": "mixpeek", **wrong})


@pytest.mark.parametrize("base_url", ["${MIXPEEK_URL}", "http://localhost:8000"])
def test_addresses_that_can_only_be_checked_later_or_stay_here_pass(base_url: str) -> None:
    assert MixpeekSettings.model_validate({"base_url": base_url}).base_url == base_url


def test_http_elsewhere_can_be_allowed() -> None:
    assert MixpeekSettings.model_validate({"base_url": "http://mixpeek.internal", "allow_http": True}).allow_http


def test_the_key_shows_in_no_repr() -> None:
    assert "sk_canary" not in repr(MixpeekSettings(api_key=SecretStr("sk_canary")))


@pytest.mark.parametrize("model", [MixpeekSettings, RetryPolicy])
def test_every_setting_is_described(model: type[MixpeekSettings | RetryPolicy]) -> None:
    for name, setting in model.model_fields.items():
        assert setting.description or len(get_args(setting.annotation)) == 1, name
