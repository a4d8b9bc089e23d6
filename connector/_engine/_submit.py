"""URLs handed to a source's service side by side, each watched for as long as the caller wants to wait, and what came
of them synced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import environ as process_environ
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from vectorferry.connector._config import resolve, resolve_part
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine._opening import list_collections, run_in_collection
from vectorferry.connector._engine.sync._options import SyncOptions
from vectorferry.connector._engine.sync._run import run_sync
from vectorferry.connector._iterators import closing
from vectorferry.connector._model._errors import ConfigurationError, LimitReachedError, StopError, VectorferryError
from vectorferry.connector._model._storable import safe_id
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._source import Source, Submission, SubmissionState, SubmitOptions
from vectorferry.connector._reports._summary import Summary

LONGEST_URL: Final = 8_000
AS_IT_IS: Final = SubmitOptions()

SubmissionCallback: TypeAlias = Callable[[Submission], None]
"""Called at each change of each URL."""

DONE: Final = frozenset({SubmissionState.READY, SubmissionState.SKIPPED, SubmissionState.FAILED})
ACCEPTED: Final = DONE | {SubmissionState.INDEXING}


@dataclass(slots=True)
class Submitted:
    """What came of one URL: how far it was seen to come (None: nowhere), and what kept it from coming further."""

    url: str
    last: Submission | None = None
    error: VectorferryError | None = None

    @property
    def exit_code(self) -> int:
        """0 when it came as far as it was waited for."""
        if self.error:
            return self.error.exit_code
        return int(self.last is None or self.last.state is SubmissionState.FAILED)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: url, state (or null), status (the service's word, or null), asset_id (or null), known,
        error (or null), note (or null)."""
        last = self.last or Submission(self.url, SubmissionState.FAILED)
        return {
            "url": without_query(self.url),
            "state": last.state.value if self.last else None,
            "status": last.status or None,
            "asset_id": last.asset_id or None,
            "known": last.known,
            "error": str(self.error) if self.error else last.detail or None,
            "note": last.note or None,
        }


@dataclass(slots=True)
class Submissions:
    """Those of one command, in the order in which they were given. `collection` is its id; `summary` is of the sync of
    those that were ready, None where there was none, and `sync_error` what ended that sync. `note` is what somebody
    should know of the collection."""

    collection: str
    submitted: Sequence[Submitted] = field(default_factory=list)
    summary: Summary | None = None
    sync_error: VectorferryError | None = None
    note: str | None = None

    @property
    def ready(self) -> list[str]:
        """The ids of the assets that there is something of to sync."""
        lasts = (each.last for each in self.submitted if each.last and not each.error)
        states = (SubmissionState.READY, SubmissionState.SKIPPED)
        return list(dict.fromkeys(last.asset_id for last in lasts if last.state in states and last.asset_id))

    @property
    def exit_code(self) -> int:
        """1 where something failed or takes too long, else 5 where a limit of the source was met: then the same
        command later is all that it takes. Else that of the sync."""
        codes = {each.exit_code for each in self.submitted} - {0}
        own = max(codes - {LimitReachedError.exit_code} or codes, default=0)
        return own or (self.sync_error or self.summary or _NOTHING).exit_code

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: collection, submitted [what `Submitted.to_dict` says], sync (what `Summary.to_dict` says,
        or null), sync_error (or null), note (or null), exit_code."""
        return {
            "collection": self.collection,
            "submitted": [each.to_dict() for each in self.submitted],
            "sync": self.summary.to_dict() if self.summary else None,
            "sync_error": str(self.sync_error) if self.sync_error else None,
            "note": self.note,
            "exit_code": self.exit_code,
        }


_NOTHING: Final = Summary("")


def without_query(url: str) -> str:
    """The address up to ``?`` or ``#``: a signature behind it would be a key."""
    return url.partition("#")[0].partition("?")[0]


def is_fetchable(url: str) -> bool:
    """Whether this is an address that a service could be asked to fetch."""
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False
    return named and url.isprintable() and " " not in url and len(url) <= LONGEST_URL


async def submit(
    source: Source,
    collection: str,
    urls: Sequence[str],
    options: SubmitOptions = AS_IT_IS,
    *,
    wait: bool = False,
    timeout: float = 3_600,  # noqa: ASYNC109 - what came of the URLs is told, also of those that took too long
    progress: SubmissionCallback | None = None,
) -> Submissions:
    """Submit each URL to the collection, and return when the service has accepted all of them (`wait`: has made them
    ready). What fails or takes longer than `timeout` seconds is told in the result.

    Raises `ConfigurationError` for a source that takes nothing in, or not with these options.
    """
    Capability.SUBMIT.check(source.capabilities)
    if not all(map(is_fetchable, urls)):
        raise ConfigurationError("a URL is no http or https address that a service could fetch")
    source.check_submission(urls, options)

    async def follow(url: str) -> Submitted:
        submitted = Submitted(url)
        try:
            async with asyncio.timeout(timeout):
                await _follow(source, collection, submitted, DONE if wait else ACCEPTED, options, progress)
        except TimeoutError:
            submitted.error = _too_long(submitted, timeout)
        except VectorferryError as error:
            submitted.error = error
        return submitted

    return Submissions(collection, await asyncio.gather(*map(follow, dict.fromkeys(urls))))


def run_submit(
    settings: SyncSettings,
    urls: Sequence[str],
    options: SubmitOptions = AS_IT_IS,
    *,
    collection: str | None = None,
    wait: bool = False,
    sync: bool = False,
    timeout: float = 3_600,
    environ: Mapping[str, str] = process_environ,
    progress: SubmissionCallback | None = None,
) -> Submissions:
    """Submit to the source of a sync. `collection` may be left out where there is only one. With `wait` and `sync` the
    assets that are ready then, and no others, are brought into the destinations; else none of these is opened.

    Raises what `submit` raises, what the source raises when it is asked for its collections, and `ConfigurationError`
    when it is not clear which collection is meant, or, where there is to be a sync, for a variable that is not set:
    before anything is submitted.
    """
    if wait and sync:
        resolve(settings, environ)

    async def run(source: Source, where: str) -> Submissions:
        return await submit(source, where, urls, options, wait=wait, timeout=timeout, progress=progress)

    submissions = run_in_collection(settings, collection, environ, run, perhaps_new=True)
    if not _is_synced(settings, submissions.collection, collection, environ):
        submissions.note = (
            f"{safe_id(submissions.collection)} is not in source.collections: no run but that of this command syncs "
            "what is in it; add it there to keep it up to date."
        )
    if wait and sync and submissions.ready:
        # One that this has made may be called by its name so far.
        submissions.collection = run_in_collection(settings, submissions.collection, environ, _id_of)
        only = SyncOptions(collections=[submissions.collection], only=frozenset(submissions.ready))
        try:
            submissions.summary = run_sync(settings, only, environ=environ)
        except VectorferryError as error:
            submissions.sync_error = error
    return submissions


def _is_synced(settings: SyncSettings, collection: str, named: str | None, environ: Mapping[str, str]) -> bool:
    """Whether every run looks at a collection. Where the file has other ids and names, the source is asked for the ids
    of those."""
    configured: Sequence[str] = getattr(settings.source, "collections", ())
    if not configured or {collection, named} & {*configured}:
        return True
    try:
        return collection in list_collections(resolve_part(settings.source, environ, settings.where, ("source",)))
    except VectorferryError:
        return False


async def _id_of(_: Source, collection: str) -> str:
    return collection


async def _follow(
    source: Source,
    collection: str,
    submitted: Submitted,
    until: frozenset[SubmissionState],
    options: SubmitOptions,
    progress: SubmissionCallback | None,
) -> None:
    async with closing(source.submit(collection, submitted.url, options)) as changes:
        async for change in changes:
            submitted.last = change
            if progress:
                progress(change)
            if change.state in until:
                return


def _too_long(submitted: Submitted, seconds: float) -> StopError:
    state = submitted.last.state.value if submitted.last else "not accepted"
    return StopError(f"still {state} after {seconds:g} s; the same command takes it up where it is")
