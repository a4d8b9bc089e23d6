"""What went wrong, said to Dagster: whether to try again is decided here and nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import dagster as dg

from connector import (
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
    Summary,
    VectorferryError,
)

__all__ = ["RETRIES", "failure", "hopeless", "raise_for_exit_code"]

RETRIES: Final = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""For what a service may get over by itself. What was committed stays, so another try only does the rest."""

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


def failure(failed: Mapping[str, VectorferryError], asked: int) -> dg.Failure | dg.RetryRequested:
    """The exception that ends a step in which these collections, of so many asked for, failed."""
    waits = [error.after for error in failed.values() if isinstance(error, RetryableError) and error.after]
    if waits and not any(isinstance(error, NO_USE_TO_RETRY) for error in failed.values()):
        return dg.RetryRequested(max_retries=RETRIES.max_retries, seconds_to_wait=max(waits))
    return dg.Failure(
        description=_description(failed, asked),
        metadata={**{f"error/{key}": str(error) for key, error in failed.items()}, **_come_back(failed.values())},
        allow_retries=_may_be_tried_again(failed.values()),
    )


def _may_be_tried_again(errors: Collection[VectorferryError]) -> bool:
    """One that reached a limit of the source ended the step, and every further try would reach it again at once."""
    at_limit = any(isinstance(error, LimitReachedError) for error in errors)
    return not at_limit and not all(isinstance(error, NO_USE_TO_RETRY) for error in errors)


def _come_back(errors: Collection[VectorferryError]) -> dict[str, dg.TimestampMetadataValue]:
    """When the source takes requests again, if it said."""
    times = [error.until for error in errors if isinstance(error, LimitReachedError) and error.until]
    return {"limited_until": dg.MetadataValue.timestamp(max(times))} if times else {}


def _description(failed: Mapping[str, VectorferryError], asked: int) -> str:
    if asked == 1:
        return "\n".join(map(str, failed.values()))
    lines = [f"{key}: {error}" for key, error in failed.items()]
    return "\n".join([f"{len(failed)} of {asked} collections failed; the finished ones are recorded.", *lines])


def raise_for_exit_code(summary: Summary) -> None:
    """Raise what the summary's exit code stands for; records in quarantine are no failure."""
    errors = [f"{name}: {destination.error}" for name, destination in summary.destinations.items() if destination.error]
    read: dict[str, CollectionSummary | RelatedSummary] = {**summary.collections, **summary.related}
    notes = [f"{name}: {said}" for name, seen in read.items() if (said := seen.error or seen.note)]
    if limit := summary.limit:
        raise LimitReachedError("\n".join([str(limit), READ_IS_WRITTEN, *notes, *errors]), until=limit.until)
    if summary.exit_code == GuardRefusedError.exit_code:
        raise GuardRefusedError("\n".join(notes + errors) or "a guard refused; nothing was deleted")
    if errors:
        raise DestinationError("\n".join(errors + notes))
    if summary.exit_code not in (0, 3):
        raise SourceError("\n".join(notes) or "the sync failed; its log says why")
