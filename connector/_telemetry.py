"""Spans and metrics for OpenTelemetry, where its API is installed (the extra `otel`); else nothing is done.

Only the API is imported: whoever runs a sync decides what becomes of spans and metrics, and `opentelemetry-instrument`
or an application sets that up. Spans hold names, counts and kinds of errors; never a header, a query, an address'
password or the text of an error.

A span covers a run (`vectorferry.sync`), one covers each of its collections, and one each request to the source with
all its attempts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, Final

from vectorferry.connector._model._batch import Applied, Counts

try:
    from opentelemetry import metrics, trace
except ModuleNotFoundError:
    INSTALLED = False
else:
    INSTALLED = True

__all__ = ["count_request", "is_traced", "record_applied", "record_quarantine", "span"]

SCOPE: Final = "vectorferry"
CHANGES: Final = ("inserted", "updated", "unchanged", "deleted")


def span(name: str, attributes: Mapping[str, Any], *, client: bool = False) -> AbstractContextManager[dict[str, Any]]:
    """A span around a block. What the block puts into the dictionary becomes attributes; an error, its class' name."""
    return _span(name, attributes, client=client) if is_traced() else nullcontext({})


@contextmanager
def _span(name: str, attributes: Mapping[str, Any], *, client: bool) -> Iterator[dict[str, Any]]:
    more: dict[str, Any] = {}
    kind = trace.SpanKind.CLIENT if client else trace.SpanKind.INTERNAL
    tracer = trace.get_tracer(SCOPE)
    # What an error says is left out: it may quote what a service has answered.
    with tracer.start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield more
        except BaseException as error:
            more["error.type"] = type(error).__name__
            current.set_status(trace.StatusCode.ERROR)
            raise
        finally:
            current.set_attributes(more)


def is_traced() -> bool:
    """Whether spans go anywhere: one that goes nowhere costs as much."""
    return INSTALLED and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def count_request(host: str) -> None:
    """Count a request that is sent to the source; one that is sent again counts again."""
    if INSTALLED:
        _metrics().requests.add(1, {"server.address": host})


def record_applied(collection: str, destination: str, applied: Applied) -> None:
    """Count what one collection's run has changed in a destination."""
    if not INSTALLED:
        return
    where = {"destination": destination, "collection": collection}
    for modality, counts in applied.features.items():
        _count(_metrics().features, counts, {**where, "modality": modality.value})
    for (modality, vector_name), counts in applied.vectors.items():
        _count(_metrics().vectors, counts, {**where, "modality": modality.value, "vector": vector_name})


def record_quarantine(destination: str, records: int) -> None:
    """Say how many records a destination has set aside."""
    if INSTALLED:
        _metrics().quarantined.set(records, {"destination": destination})


def _count(counter: Any, counts: Counts, attributes: Mapping[str, str]) -> None:
    for change in CHANGES:
        if number := getattr(counts, change):
            counter.add(number, {**attributes, "change": change})


class _Metrics:
    def __init__(self) -> None:
        meter = metrics.get_meter(SCOPE)
        self.features = meter.create_counter("vectorferry.features", "{feature}", "rows, by what was done with them")
        self.vectors = meter.create_counter("vectorferry.vectors", "{vector}", "vectors, by what was done with them")
        self.requests = meter.create_counter("vectorferry.requests", "{request}", "requests sent to the source")
        self.quarantined = meter.create_gauge("vectorferry.quarantined", "{record}", "records that are in quarantine")


@cache
def _metrics() -> _Metrics:
    """Made when the first is needed, so that an application has set up what they go to."""
    return _Metrics()
