"""However TwelveLabs says that a day's requests are used up, it is understood."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from tests.connector.sandbox.twelvelabs.serving import answering, twelvelabs
from vectorferry.connector.plugin import LimitReachedError
from vectorferry.connector.sources.twelvelabs import TwelveLabsSettings

LEFT = 2


@pytest.mark.parametrize(
    "said",
    [{}, {"rate_body": "empty"}, {"rate_headers": False}, {"rate_headers": False, "rate_body": "text"}],
    ids=["headers and message", "headers", "message", "message as text"],
)
async def test_a_day_s_cap_is_a_limit_with_its_end(said: dict[str, Any]) -> None:
    async with twelvelabs(answering(requests_per_day=LEFT, **said)) as (sandbox, _):
        settings = TwelveLabsSettings(base_url=sandbox.twelvelabs_url, api_key=SecretStr(sandbox.api_key))
        async with aclosing(settings.open()) as source:
            for _ in range(LEFT):
                await source.collections()
            with pytest.raises(LimitReachedError) as caught:
                await source.collections()
            assert source.usage.requests == LEFT + 1
    assert caught.value.until is not None
    assert timedelta(hours=23) < caught.value.until - datetime.now(UTC) < timedelta(hours=25)
