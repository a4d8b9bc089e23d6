"""What went wrong, said to Dagster: whether to try again is decided here and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Final, NoReturn

import dagster as dg

from vectorferry import Summary
from vectorferry.connector.plugin import (
    CollectionError,
    ConfigurationError,
    CredentialsError,
    DestinationError,
    GuardRefusedError,
    LimitReachedError,
    RetryableError,
    SourceError,
    VectorferryError,
)

RETRIES: Final = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""For what a service may get over by itself. What was committed stays, so another try only does the rest.

No step is given this policy: Dagster would apply it to a step that is terminated, and go on with it.
"""

RETRIES_TAG: Final = "vectorferry/retries"
"""On a step that may be tried again more or less often than `RETRIES` says."""

NO_USE_TO_RETRY: Final = (
    CollectionError,
    ConfigurationError,
    CredentialsError,
    GuardRefusedError,
    LimitReachedError,
)

READ_IS_WRITTEN: Final = "What was read is written; the next run goes on from there."


def hopeless(error: VectorferryError) -> bool:
    """Whether other collections of the same sync would fail in the same way."""
    return isinstance(error, CredentialsError | LimitReachedError)


def fail(
    context: dg.AssetExecutionContext, failed: Mapping[str, VectorferryError], total: int, untried: int = 0
) -> NoReturn:
    """End a step in which these collections, of so many asked for, failed, and so many were not tried any more.

    Raises `dg.Failure`; or, for what may get better, `dg.RetryRequested` after some waiting. The waiting is done here
    because Dagster's own, between two tries of a step in the run's process, cannot be terminated.
    """
    failure = dg.Failure(
        description=_description(failed, total, untried),
        metadata={**{f"error/{key}": str(error) for key, error in failed.items()}, **_come_back(failed.values())},
        allow_retries=False,
    )
    if not tries_again(context, failed.values()):
        raise failure from None
    seconds = _wait(failed.values(), context.retry_number + 1)
    context.log.warning(f"{failure.description}\nTrying again in {seconds:.0f} s.")
    time.sleep(seconds)
    raise dg.RetryRequested(max_retries=_retries(context)) from failure


def _retries(context: dg.AssetExecutionContext) -> int:
    said = context.op_execution_context.op_def.tags.get(RETRIES_TAG, "")
    return int(said) if said.isdecimal() else RETRIES.max_retries


def tries_again(context: dg.AssetExecutionContext, errors: Collection[VectorferryError]) -> bool:
    """Whether a step that ends with these errors is tried once more."""
    return context.retry_number < _retries(context) and _may_be_tried_again(errors)


def _wait(errors: Collection[VectorferryError], attempt: int) -> float:
    """Seconds: as long as the services ask for, or longer from try to try."""
    waits = [error.after for error in errors if isinstance(error, RetryableError) and error.after]
    if waits and not any(isinstance(error, NO_USE_TO_RETRY) for error in errors):
        return max(waits)
    return float(RETRIES.calculate_delay(attempt))


def _may_be_tried_again(errors: Collection[VectorferryError]) -> bool:
    """One that reached a limit of the source ended the step, and every further try would reach it again at once."""
    at_limit = any(isinstance(error, LimitReachedError) for error in errors)
    return not at_limit and not all(isinstance(error, NO_USE_TO_RETRY) for error in errors)


def _come_back(errors: Collection[VectorferryError]) -> dict[str, dg.TimestampMetadataValue]:
    """When the source takes requests again, if it said."""
    times = [error.until for error in errors if isinstance(error, LimitReachedError) and error.until]
    return {"limited_until": dg.MetadataValue.timestamp(max(times))} if times else {}


def _description(failed: Mapping[str, VectorferryError], total: int, untried: int) -> str:
    if total == 1:
        return "\n".join(map(str, failed.values()))
    lines = [f"{key}: {error}" for key, error in failed.items()]
    rest = f"{untried} more were not tried; " if untried else ""
    return "\n".join([f"{len(failed)} of {total} collections failed; {rest}the finished ones are recorded.", *lines])


def raise_for_collection(summary: Summary, collection: str) -> None:
    """Raise what became of one collection, where that is a failure; records in quarantine are none."""
    scan = summary.of(collection)
    if scan.refused:
        raise GuardRefusedError(scan.note or "a guard refused; nothing was deleted")
    if scan.cause:
        raise scan.cause
    if scan.error:
        raise SourceError("; ".join(filter(None, (scan.note, scan.error))))


def raise_for_run(summary: Summary) -> None:
    """Raise what went wrong in a run beside its collections: in a destination, in a table of metadata, or a quota."""
    if limit := summary.limit:
        raise LimitReachedError(f"{limit}\n{READ_IS_WRITTEN}", until=limit.until)
    errors = destination_errors(summary)
    if errors:
        raise DestinationError("\n".join(f"{name}: {error}" for name, error in errors.items()))
    related = {name: table for name, table in summary.related.items() if table.error or table.refused}
    lines = "\n".join(f"{name}: {table.error or table.note}" for name, table in related.items())
    if any(table.error for table in related.values()):
        raise SourceError(lines)
    if related:
        raise GuardRefusedError(lines)


def destination_errors(summary: Summary) -> dict[str, str]:
    """Why each of the destinations that have failed did."""
    return {name: each.error for name, each in summary.destinations.items() if each.error}
