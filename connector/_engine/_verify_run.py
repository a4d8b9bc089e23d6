"""A check as settings describe it: everything opened, and closed whatever happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import environ as process_environ

from vectorferry.connector._cancellation import run_cancellable
from vectorferry.connector._config import resolve
from vectorferry.connector._destination import Destination
from vectorferry.connector._engine._diff import Reread
from vectorferry.connector._engine._opening import open_destinations, open_source
from vectorferry.connector._engine._verify import verify
from vectorferry.connector._settings import SyncSettings
from vectorferry.connector._verify_report import Verification

__all__ = ["run_verify"]


def run_verify(
    settings: SyncSettings,
    *,
    collections: Sequence[str] | None = None,
    sample: int | None = 1_000,
    repair: bool = False,
    environ: Mapping[str, str] = process_environ,
    visible_timeout: float = 300,
    source_sample: int = 0,
) -> Verification:
    """Resolve ``${NAME}``, open source and destinations, `verify`, and close them.

    Raises what `verify` raises, and `ConfigurationError` for a variable that is not set.
    """
    resolved = resolve(settings, environ)
    with open_destinations(resolved) as destinations:
        return run_cancellable(
            _opened(resolved, destinations, collections, sample, repair, visible_timeout, source_sample)
        )


async def _opened(
    settings: SyncSettings,
    destinations: Sequence[Destination],
    collections: Sequence[str] | None,
    sample: int | None,
    repair: bool,
    visible_timeout: float,
    source_sample: int,
) -> Verification:
    async with open_source(settings) as source:
        return await verify(
            source,
            destinations,
            name=settings.name,
            mapping=settings.modalities,
            collections=collections,
            sample=sample,
            repair=repair,
            batch=settings.batch,
            deletes=settings.deletes,
            visible_timeout=visible_timeout,
            source_sample=source_sample,
            reread=Reread(settings.source.reread_days),
        )
