"""A sandbox that takes only so many requests a second."""

from __future__ import annotations

import httpx

from vectorferry.connector.sandbox import SandboxSettings, running_sandbox
from vectorferry.connector.sandbox._server import Bucket


def test_a_bucket_takes_a_seconds_worth_at_once_and_then_one_at_a_time() -> None:
    times = iter([0.0, *[0.0] * 5, 0.5, 0.5, 0.5, 9.0, *[9.0] * 4])
    bucket = Bucket(4, clock=lambda: next(times))
    assert [bucket.admits() for _ in range(5)] == [True] * 4 + [False]
    assert [bucket.admits() for _ in range(3)] == [True, True, False]
    assert [bucket.admits() for _ in range(5)] == [True] * 4 + [False]


def test_what_is_over_gets_a_429_in_the_apis_own_words() -> None:
    with running_sandbox(SandboxSettings(requests_per_second=1)) as sandbox:
        asked = {"headers": {"Authorization": f"Bearer {sandbox.api_key}"}, "trust_env": False}
        answers = (httpx.get(f"{sandbox.url}/collections", **asked) for _ in range(1_000))  # type: ignore[arg-type]
        first = next(answers)
        refused = next(answer for answer in answers if answer.status_code == 429)
    assert first.status_code != 429
    assert (refused.headers["Retry-After"], refused.json()["error"]["type"]) == ("1", "TooManyRequestsError")
