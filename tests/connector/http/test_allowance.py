"""Clients that share an allowance: together they send what one may, and all of them hold when one is told to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from vectorferry.connector.http import ApiClient, ClientSettings
from vectorferry.connector.http import _allowance as borrowing
from vectorferry.connector.plugin import Account, Allowance, LimitReachedError, Loan, RetryableError
from vectorferry.connector.testing import MemoryAllowance

from ...examples import family

RATE = 50
"""Requests a second."""


@dataclass
class Service:
    """Notes when each request came, and answers with what `refusals` holds first."""

    url: str = ""
    arrivals: list[float] = field(default_factory=list)
    refusals: list[web.Response] = field(default_factory=list)
    latency: float = 0.2

    async def answer(self, _: web.BaseRequest) -> web.Response:
        self.arrivals.append(now())
        if self.refusals:
            return self.refusals.pop()
        await asyncio.sleep(self.latency)
        return web.json_response({})

    def most_within(self, seconds: float) -> int:
        """Of all stretches of time that are so long, the most requests that came in one."""
        return max(sum(start <= time < start + seconds for time in self.arrivals) for start in self.arrivals)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    runner = web.ServerRunner(web.Server(service.answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield service
    await runner.cleanup()


@pytest.fixture
async def clients(service: Service) -> AsyncIterator[Callable[..., ApiClient]]:
    async with AsyncExitStack() as stack:

        def made(allowance: Allowance | None, rate: int | None = RATE, **settings: Any) -> ApiClient:
            per_minute = 60 * rate if rate else None
            key = SecretStr("sk_secret")
            client = ApiClient(ClientSettings(service.url, key, "key", requests_per_minute=per_minute, **settings))
            stack.push_async_callback(client.aclose)
            if allowance:
                client.share(allowance)
            return client

        yield made


class Slow(MemoryAllowance):
    """Answers after some time; how often it was asked is counted. The account is kept to look at."""

    def __init__(self, seconds: float = 0.0, failing: bool = False) -> None:
        super().__init__(now)
        self.seconds, self.failing = seconds, failing
        self.asked: Counter[str] = Counter()
        self.accounts: set[Account] = set()

    async def borrow(self, account: Account, kind: str, requests: int, interval: float) -> Loan:
        await self._asked("borrow", account)
        return await super().borrow(account, kind, requests, interval)

    async def hold(self, account: Account, kind: str, seconds: float, reason: str = "") -> None:
        await self._asked("hold", account)
        await super().hold(account, kind, seconds, reason)

    async def _asked(self, what: str, account: Account) -> None:
        self.asked[what] += 1
        self.accounts.add(account)
        await asyncio.sleep(self.seconds)
        if self.failing:
            raise RetryableError("the server is away")


def now() -> float:
    return asyncio.get_running_loop().time()


async def send(client: ApiClient, count: int) -> None:
    await asyncio.gather(*(client.request("GET", "/", decode=len) for _ in range(count)))


@pytest.mark.parametrize("clients_together", family([4, 1, 2, 8]))
async def test_together_they_send_what_the_service_allows_and_no_more(
    service: Service, clients: Callable[..., ApiClient], clients_together: int
) -> None:
    allowance, count = Slow(), 240
    each = [clients(allowance) for _ in range(clients_together)]
    began = now()
    await asyncio.gather(*(send(client, count // clients_together) for client in each))
    seconds = max(service.arrivals) - began
    ideal = min(RATE, clients_together * 8 / service.latency)
    assert count / seconds >= 0.93 * ideal  # 0.98 of many more: in the last second some loans are not used
    assert service.most_within(1.0) <= 1.15 * RATE  # red without `share`: as many times as there are clients
    # Some loans a second each, and not one for every request.
    assert allowance.asked["borrow"] <= count / 3


async def test_a_loan_that_was_not_used_lapses(service: Service, clients: Callable[..., ApiClient]) -> None:
    client, service.latency = clients(Slow(), concurrency=RATE), 0.0
    await send(client, 3 * RATE)
    await asyncio.sleep(30)
    service.arrivals.clear()
    await send(client, RATE)
    assert service.most_within(0.5) <= RATE // 2 + 1


@pytest.mark.parametrize("rate", [RATE, None])
async def test_what_one_is_told_by_a_429_holds_the_others(
    service: Service, clients: Callable[..., ApiClient], rate: int | None
) -> None:
    allowance = Slow()
    first, second = clients(allowance, rate), clients(allowance, rate)
    await send(second, 1)
    service.refusals.append(web.Response(status=429, headers={"Retry-After": "60"}))
    told = asyncio.create_task(send(first, 1))
    await asyncio.sleep(2)
    await send(second, 1)  # in which an unlimited one hears of it
    service.arrivals.clear()
    began = now()
    await send(second, 5)
    assert min(service.arrivals) - began > 50
    await told


@pytest.mark.parametrize("rate", [RATE, None])
async def test_a_hold_lasts_no_longer_than_a_service_may_ask_for(
    service: Service, clients: Callable[..., ApiClient], rate: int | None
) -> None:
    """Whatever the table says: a clock was set back, or somebody has other settings. Red where it is heeded anew with
    every look."""
    allowance = Slow()
    client = clients(allowance, rate)
    await send(client, 1)
    (account,) = allowance.accounts or {Account(service.url, client._hashed_key("allowance"))}
    await MemoryAllowance.hold(allowance, account, "", 36_000)
    service.arrivals.clear()
    began = now()
    for _ in range(5):
        await send(client, 1)
        await asyncio.sleep(2)
    assert max(service.arrivals) - began <= client._retries.longest_hold + 15


async def test_a_429_without_a_time_holds_the_others_for_a_moment(
    service: Service, clients: Callable[..., ApiClient]
) -> None:
    allowance = Slow()
    service.refusals.append(web.Response(status=429))
    await send(clients(allowance), 1)
    assert allowance.asked["hold"] == 1


async def test_a_quota_that_is_used_up_ends_everybody_who_runs(
    service: Service, clients: Callable[..., ApiClient]
) -> None:
    allowance = Slow()
    first, second = clients(allowance), clients(allowance)
    await send(second, 1)
    service.refusals.append(web.Response(status=429, text="all used up", headers={"Retry-After": "7200"}))
    with pytest.raises(LimitReachedError):
        await send(first, 1)
    await asyncio.sleep(2)
    with pytest.raises(LimitReachedError, match="takes no more requests until"):
        await send(second, 2 * RATE)
    # Whoever comes later asks the service itself: the quota may have been raised meanwhile.
    await send(clients(allowance), 2 * RATE)


@pytest.mark.parametrize("allowance", [Slow(failing=True), Slow(seconds=1_000)], ids=["failing", "silent"])
async def test_an_allowance_that_does_not_answer_holds_nobody_up(
    service: Service, clients: Callable[..., ApiClient], allowance: Slow
) -> None:
    began = now()
    await send(clients(allowance), 5 * RATE)
    assert max(service.arrivals) - began <= 5 * 200 / 40 + borrowing.PATIENCE
    assert service.most_within(1.0) <= RATE + 1  # its own pace
    assert allowance.asked["borrow"] <= 2


async def test_a_slow_allowance_takes_no_time_from_a_single_process(
    service: Service, clients: Callable[..., ApiClient]
) -> None:
    """Latency is what bounds it; loans come from a server that is far away."""
    await send(clients(Slow(seconds=0.3)), 240)
    learned = service.arrivals[80:]
    assert max(learned) - min(learned) <= len(learned) / 40 / 0.97


async def test_the_lender_gets_a_digest_of_the_key(service: Service, clients: Callable[..., ApiClient]) -> None:
    allowance = Slow()
    await send(clients(allowance), 1)
    (account,) = allowance.accounts
    assert account.service == service.url
    assert "sk_secret" not in account.key
    assert len(account.key) == 32
