"""What went wrong, said to Dagster: whether to try again is decided here and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Final, NoReturn

import dagster as dg

from vectorferry import Summary
from vectorferry.connector.plugin import (
    CollectionError,
    CollectionSummary,
    ConfigurationError,
    CredentialsError,
    DestinationError,
    GuardRefusedError,
    LimitReachedError,
    RelatedSummary,
    RetryableError,
    SourceError,
    VectorferryError,
)

RETRIES: Final = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""For what a service may get over by itself. What was committed stays, so another try only does the rest.

No step is given this policy: Dagster would apply it to a step that is terminated, and go on with it.
"""

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


def fail(context: dg.AssetExecutionContext, failed: Mapping[str, VectorferryError], total: int) -> NoReturn:
    """End a step in which these collections, of so many asked for, failed.

    Raises `dg.Failure`; or, for what may get better, `dg.RetryRequested` after some waiting. The waiting is done here
    because Dagster's own, between two tries of a step in the run's process, cannot be terminated.
    """
    failure = dg.Failure(
        description=_description(failed, total),
        metadata={**{f"error/{key}": str(error) for key, error in failed.items()}, **_come_back(failed.values())},
        allow_retries=False,
    )
    if context.retry_number >= RETRIES.max_retries or not _may_be_tried_again(failed.values()):
        raise failure from None
    seconds = _wait(failed.values(), context.retry_number + 1)
    context.log.warning(f"{failure.description}\nTrying again in {seconds:.0f} s.")
    time.sleep(seconds)
    raise dg.RetryRequested(max_retries=RETRIES.max_retries) from failure


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


def _description(failed: Mapping[str, VectorferryError], total: int) -> str:
    if total == 1:
        return "\n".join(map(str, failed.values()))
    lines = [f"{key}: {error}" for key, error in failed.items()]
    return "\n".join([f"{len(failed)} of {total} collections failed; the finished ones are recorded.", *lines])


def raise_for_exit_code(summary: Summary) -> None:
    """Raise what the summary's exit code stands for; records in quarantine are no failure."""
    errors = [f"{name}: {destination.error}" for name, destination in summary.destinations.items() if destination.error]
    read: dict[str, CollectionSummary | RelatedSummary] = {**summary.collections, **summary.related}
    notes = [f"{name}: {text}" for name, each in read.items() if (text := each.error or each.note)]
    if limit := summary.limit:
        raise LimitReachedError("\n".join([str(limit), READ_IS_WRITTEN, *notes, *errors]), until=limit.until)
    if summary.exit_code == GuardRefusedError.exit_code:
        raise GuardRefusedError("\n".join(notes + errors) or "a guard refused; nothing was deleted")
    if errors:
        raise DestinationError("\n".join(errors + notes))
    if summary.exit_code not in (0, 3):
        raise SourceError("\n".join(notes) or "the sync failed; its log says why")
