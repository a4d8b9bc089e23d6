"""A run that others have helped with says what it would have said alone, and deletes only when nothing has failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import count, product
from typing import Any, NoReturn

import numpy as np
import psycopg
import pytest
from psycopg import conninfo

from vectorferry import DestinationError, SourceError, Summary, SyncOptions
from vectorferry.connector._engine import JoinOptions
from vectorferry.connector._engine.sync._join import join
from vectorferry.connector._engine.sync._sharing import FIRST
from vectorferry.connector.plugin import Asset, DeleteGuard, Destination, Listing, Reason, Rejected, SchemaMapping
from vectorferry.connector.testing import MemorySource, sync
from vectorferry.destinations import PgvectorDestination

from ..connector.worlds import asset, assets, feature
from ..examples import family
from ..tables import differences
from ..waiting import PATIENCE, happened

ASSETS = FIRST + 60
ODD = FIRST + 30
"""Here begin the assets that something is the matter with."""

UNCHANGED = ASSETS - FIRST - 5
"""So many of the first ones, where enough of the others are not for them to be shared."""

New = Callable[[], Destination]


class Odd(MemorySource):
    """Assets of which some cannot be read, or only in part. Waits after so many, before what is shared, until `go_on`
    is set."""

    def __init__(self, waits_after: int = FIRST) -> None:
        super().__init__({"ads": changed_assets()})
        self.waits_after = waits_after
        self.waits = asyncio.Event()
        self.go_on = asyncio.Event()
        self.read = asyncio.Event()
        self.failure: Exception | None = None

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
        number = 0
        async for listing in listings:
            number += 1
            if number > self.waits_after:
                self.waits.set()
                await self.go_on.wait()
                if self.failure:
                    raise self.failure
            if (item := self._answer(collection, listing.asset_id)) is not None:
                yield item
            if listing.asset_id == name(ODD + 9):
                self.read.set()

    def _answer(self, collection: str, asset_id: str) -> Asset | Rejected | None:
        if asset_id == name(ODD):
            return Rejected(asset_id, Reason.UNREADABLE, "503")
        if asset_id == name(ODD + 1):
            return Rejected(asset_id, Reason.MALFORMED, "no list")
        if asset_id == name(ODD + 2):
            return None
        return self.assets[collection][asset_id]


class Healing(MemorySource):
    """Calls something when it is listed; one asset that is changed cannot be read at first."""

    def __init__(self, assets: Mapping[str, Sequence[Asset]], when_listed: Callable[[], object]) -> None:
        super().__init__(assets)
        self.healed = False
        self._when_listed = when_listed

    async def scan(self, collection: str) -> AsyncIterator[Listing]:
        self._when_listed()
        async for listing in super().scan(collection):
            yield listing

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
        async for item in super().pull(collection, listings):
            if item.asset_id == name(UNCHANGED) and not self.healed:
                self.healed = True
                yield Rejected(item.asset_id, Reason.UNREADABLE, "503")
            else:
                yield item


def name(number: int) -> str:
    return f"a{number:04}"


def changed_assets() -> list[Asset]:
    """Read anew, but for the last five, which are gone."""
    changed = {each.asset_id: each for each in assets(ASSETS - 5, version=2)}
    changed[name(ODD + 3)] = asset(name(ODD + 3), 2, [feature("s0", text="less")])
    changed[name(ODD + 4)] = replace(changed[name(ODD + 4)], metadata={"title": "nul \0"})
    other = feature("s0", vectors={"other-v1": np.ones(4, dtype=np.float32)})
    changed[name(ODD + 5)] = asset(name(ODD + 5), 2, [other, feature("s1"), feature("i0", "image")])
    bad = feature("s1", vectors={"multimodal-v1": np.full(3, np.nan, dtype=np.float32)})
    changed[name(ODD + 6)] = asset(name(ODD + 6), 2, [feature("s0"), bad, feature("i0", "image")])
    return list(changed.values())


@pytest.fixture
def stores(postgres_url: str, new_schema: Callable[[], str]) -> Iterator[Callable[[], New]]:
    """Makes places; each is opened as often as there are workers."""
    with ExitStack() as stack:

        def place() -> New:
            schema = new_schema()
            return lambda: stack.enter_context(closing(PgvectorDestination(schema, postgres_url)))

        yield place


async def first(new: New) -> None:
    """Everything is stored as it was at first."""
    await sync(MemorySource({"ads": assets(ASSETS)}), [new()], name="media")


async def shared(new: New, source: Odd, helper: Odd) -> Summary:
    """A sync that waits as soon as it shares, and a worker that does what it can meanwhile."""
    helper.go_on.set()
    joined = asyncio.create_task(join(helper, [new()], JoinOptions(wait=PATIENCE)))
    run = asyncio.create_task(sync(source, [new()], SyncOptions(workers=1), name="media"))
    read = asyncio.create_task(helper.read.wait())
    await asyncio.wait({joined, run, read}, return_when=asyncio.FIRST_COMPLETED)
    source.go_on.set()
    try:
        return await run
    finally:
        joined.cancel()
        await asyncio.gather(joined, return_exceptions=True)


def comparable(summary: Summary) -> Mapping[str, Any]:
    """Without what two equal runs may differ in."""
    told = dict(summary.to_dict())
    (store,) = told["destinations"].values()
    for part in (told, told["collections"]["ads"], *store["indexes"]):
        part.pop("seconds")
    del told["run_id"], told["collections"]["ads"]["workers"]
    return told


@pytest.mark.long
async def test_the_summary_is_that_of_one_process(stores: Callable[[], New]) -> None:
    one, several = stores(), stores()
    alone, source, helper = Odd(), Odd(), Odd()
    alone.go_on.set()
    for new in (one, several):
        await first(new)
    expected = await sync(alone, [one()], name="media")
    summary = await shared(several, source, helper)
    assert len(summary.collections["ads"].workers) == 1
    assert comparable(summary) == comparable(expected)


@pytest.mark.long
@pytest.mark.parametrize("down", ["first", "second"])
async def test_one_destination_that_goes_down_leaves_the_other_complete(
    down: str, postgres_url: str, new_schema: Callable[[], str]
) -> None:
    """As in a run that shares nothing. Which one has the shards does not matter."""
    schema, database, up = new_schema(), f"{new_schema()}_down", {"first": "second", "second": "first"}[down]

    def opened() -> Sequence[Destination]:
        urls = {down: conninfo.make_conninfo(postgres_url, dbname=database), up: postgres_url}
        return [PgvectorDestination(schema, urls[name], name=name) for name in ("first", "second")]

    with psycopg.connect(postgres_url, autocommit=True) as connection, ExitStack() as stack:
        connection.execute(f"CREATE DATABASE {database}".encode())
        stack.callback(connection.execute, f"DROP DATABASE {database} WITH (FORCE)".encode())
        own, helpers = ([stack.enter_context(closing(each)) for each in opened()] for _ in range(2))
        await sync(MemorySource({"ads": assets(ASSETS)}), own, name="media")
        source, helper = Odd(), Odd()
        helper.go_on.set()
        joined = asyncio.create_task(join(helper, helpers, JoinOptions(wait=PATIENCE)))
        run = asyncio.create_task(sync(source, own, SyncOptions(workers=1, lease=3), name="media"))
        read = asyncio.create_task(helper.read.wait())
        await asyncio.wait({joined, run, read}, return_when=asyncio.FIRST_COMPLETED)
        connection.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false".encode())
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])
        source.go_on.set()
        summary = await run
        joined.cancel()
        await asyncio.gather(joined, return_exceptions=True)
        assert (bool(summary.destinations[down].error), summary.destinations[up].error) == (True, None)
        ads, alone = summary.collections["ads"], Odd()
        alone.go_on.set()
        assert (ads.complete, ads.listed, ads.unread) == (True, len(changed_assets()), [name(ODD)])
        counts = summary.destinations[up].by_collection["ads"].assets
        assert counts.inserted + counts.updated + counts.unchanged == len(changed_assets()) - 3
        assert f"{down} failed, and with it what was shared: {up} got the rest from here" in (ads.note or "")
        expected = new_schema()
        with closing(PgvectorDestination(expected, postgres_url)) as other:
            await sync(MemorySource({"ads": assets(ASSETS)}), [other], name="media")
            await sync(alone, [other], name="media")
        assert differences(connection, expected, schema, ["run_id"]) == []


@pytest.mark.parametrize("error", family([DestinationError("no room"), SourceError("the service is down")]), ids=str)
async def test_nothing_is_deleted_when_a_shard_is_not_done(stores: Callable[[], New], error: Exception) -> None:
    new, source, helper = stores(), Odd(), Odd()
    await first(new)
    source.failure = error
    with pytest.raises(type(error), match=str(error)):
        await shared(new, source, helper)
    store = new()
    store.prepare(SchemaMapping())
    assert len(list(store.asset_ids("ads"))) == ASSETS


NOT_GIVEN = """
CREATE SEQUENCE {schema}.attempts;
CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM nextval('{schema}.attempts'); RAISE EXCEPTION 'refused' USING ERRCODE = '{state}'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON {schema}._sync_shards FOR EACH ROW
    WHEN (NEW.assets < OLD.assets) EXECUTE FUNCTION {schema}.refuse();
"""
"""No shard can be made smaller; how often that was tried, no rollback undoes."""


@pytest.mark.parametrize("state", family(["53100", "40001"]))
@pytest.mark.long
async def test_what_cannot_be_given_away_is_read_by_whoever_has_it(
    state: str, postgres_url: str, new_schema: Callable[[], str]
) -> None:
    """Whether the server's answer is final or worth another attempt. Red where it is given away before the book says
    so: nobody reads it then, and the run is complete all the same."""
    schema = new_schema()
    with ExitStack() as stack:
        connection = stack.enter_context(psycopg.connect(postgres_url, autocommit=True))
        own, helpers = (stack.enter_context(closing(PgvectorDestination(schema, postgres_url))) for _ in range(2))
        await sync(MemorySource({"ads": assets(ASSETS)}), [own], name="media")
        connection.execute(NOT_GIVEN.format(schema=schema, state=state).encode())
        source, helper = Odd(), Odd(waits_after=1)
        joined = asyncio.create_task(join(helper, [helpers], JoinOptions(wait=PATIENCE)))
        run = asyncio.create_task(sync(source, [own], SyncOptions(workers=1, lease=3), name="media"))
        await asyncio.wait_for(helper.waits.wait(), PATIENCE)
        source.go_on.set()  # it reads all the rest, and asks for half of what the helper has
        attempted = f"SELECT is_called FROM {schema}.attempts"
        await happened(lambda: connection.execute(attempted.encode()).fetchone() == (True,))
        helper.go_on.set()
        await run
        joined.cancel()
        await asyncio.gather(joined, return_exceptions=True)
        old = f"SELECT asset_id FROM {schema}.assets WHERE metadata ->> 'version' = '1' ORDER BY 1"
        assert connection.execute(old.encode()).fetchall() == [(name(ODD + each),) for each in range(3)]


async def test_a_source_that_fails_before_anything_is_shared_says_so(stores: Callable[[], New]) -> None:
    """Red where what was never shared is given back."""
    source = Odd(waits_after=0)
    source.failure = SourceError("the service is down")
    source.go_on.set()
    with pytest.raises(SourceError, match="the service is down"):
        await sync(source, [stores()()], SyncOptions(workers=1), name="media")


class Shut(PgvectorDestination):
    """Its shards cannot be opened."""

    def shard_book(self) -> NoReturn:
        raise DestinationError("shut")


@pytest.mark.parametrize(("down", "is_shut"), family(product(["second", "first"], [True, False])))
@pytest.mark.long
async def test_a_destination_that_cannot_take_shards_costs_the_other_nothing(
    down: str, is_shut: bool, postgres_url: str, new_schema: Callable[[], str]
) -> None:
    """Neither where they cannot be opened, nor where their connection is refused and the others go on. What is listed
    again for it is counted once, and what could be read then is not unread."""
    schema, database, up = new_schema(), f"{new_schema()}_full", {"first": "second", "second": "first"}[down]
    urls = {down: conninfo.make_conninfo(postgres_url, dbname=database), up: postgres_url}
    with psycopg.connect(postgres_url, autocommit=True) as connection, ExitStack() as stack:
        connection.execute(f"CREATE DATABASE {database}".encode())
        stack.callback(connection.execute, f"DROP DATABASE {database} WITH (FORCE)".encode())
        kinds = {down: Shut if is_shut else PgvectorDestination, up: PgvectorDestination}
        own = [stack.enter_context(closing(kinds[each](schema, urls[each], name=each))) for each in ("first", "second")]
        await sync(MemorySource({"ads": assets(ASSETS)}), own, name="media")
        refusing = f"ALTER DATABASE {database} ALLOW_CONNECTIONS {is_shut}".encode()
        changed = [*assets(UNCHANGED), *assets(ASSETS, version=2)[UNCHANGED:]]
        source = Healing({"ads": changed}, lambda: connection.execute(refusing))
        summary = await sync(source, own, SyncOptions(workers=1), name="media")
        assert (bool(summary.destinations[down].error), summary.destinations[up].error) == (True, None)
        ads, counts = summary.collections["ads"], summary.destinations[up].by_collection["ads"]
        assert (ads.error, ads.unread, source.healed) == (None, [], True)
        assert (ads.listed, ads.unchanged, ads.pulled) == (ASSETS, UNCHANGED, ASSETS - UNCHANGED)
        assert (counts.assets.updated, counts.assets.unchanged) == (ASSETS - UNCHANGED, UNCHANGED)
        assert {(each.updated, each.unchanged) for each in counts.features.values()} == {
            (each * (ASSETS - UNCHANGED), each * UNCHANGED) for each in range(3)
        }


@pytest.mark.long
async def test_what_is_held_back_is_told_once_where_a_second_listing_loses_what_is_shared(
    postgres_url: str, new_schema: Callable[[], str]
) -> None:
    """One asset comes with less, and another is gone, so that all is listed once more; then the destination with the
    shards goes."""
    schema, database, down, up = new_schema(), f"{new_schema()}_down", "first", "second"
    urls = {down: conninfo.make_conninfo(postgres_url, dbname=database), up: postgres_url}
    with psycopg.connect(postgres_url, autocommit=True) as connection, ExitStack() as stack:
        connection.execute(f"CREATE DATABASE {database}".encode())
        stack.callback(connection.execute, f"DROP DATABASE {database} WITH (FORCE)".encode())
        names = ("first", "second")
        own = [stack.enter_context(closing(PgvectorDestination(schema, urls[each], name=each))) for each in names]
        await sync(MemorySource({"ads": assets(ASSETS)}), own, name="media")
        listings = count(1)

        def listed() -> None:
            if next(listings) == 2:
                connection.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false".encode())
                ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
                connection.execute(ended, [database])

        changed = {each.asset_id: each for each in [*assets(UNCHANGED), *assets(ASSETS - 1, version=2)[UNCHANGED:]]}
        changed[name(ODD)] = asset(name(ODD), 2, [feature("s0", text="less")])
        source = Healing({"ads": [*changed.values()]}, listed)
        source.healed = True
        options = SyncOptions(workers=1, lease=3)
        summary = await sync(source, own, options, name="media", deletes=DeleteGuard(max_share=0))
        assert (bool(summary.destinations[down].error), summary.destinations[up].error) == (True, None)
        ads = summary.collections["ads"]
        assert f"{down} failed, and with it what was shared: {up} got the rest from here" in (ads.note or "")
        assert (ads.held_back, ads.second_looks, (ads.note or "").count(f"{up}: 1 asset was left")) == ({up: 1}, 1, 1)


@pytest.mark.long
async def test_whoever_closes_goes_on_without_a_destination_whose_shards_cannot_be_opened(
    postgres_url: str, new_schema: Callable[[], str]
) -> None:
    with ExitStack() as stack:
        kinds = {"first": Shut, "second": PgvectorDestination}
        own = [
            stack.enter_context(closing(kind(new_schema(), postgres_url, name=each))) for each, kind in kinds.items()
        ]
        summary = await sync(MemorySource({"ads": assets(2)}), own, SyncOptions(closes=["r1"]), name="media")
        assert (summary.destinations["first"].error, summary.destinations["second"].error) == ("shut", None)
        assert list(own[1].asset_ids("ads")) == [name(0), name(1)]
