"""Carries out plans: each goes to all of its indexes at once, and the next one may be made meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from vectorferry.connector import CancellableCall, DestinationError, check_cancelled, is_cancelled

from .._postgres import FeatureKey
from ._bodies import EncodedRecord, encode_record
from ._ids import record_id
from ._manifest import Place
from ._plan import Plan
from ._wanted import WantedFeature
from ._writer import IndexWriter, Sent

__all__ = ["Flight", "Sending", "Written"]

_GLANCE_SECONDS: Final = 0.1
_JOBS_AT_ONCE: Final = 4
"""Each holds some encoded records, those that wait hold none yet. (With 32 of these threads, and 64 that send, a sync
of 40,000 × 1024-d took 365 MB instead of 172: malloc keeps something back for each thread.)"""


@dataclass(slots=True)
class Written:
    """The highest write per index, by the store's own numbers, and the records it refused, with its words."""

    lsns: dict[str, int] = field(default_factory=dict)
    refused: dict[Place, str] = field(default_factory=dict)

    def add(self, job: _Job, sent: Sent) -> None:
        """Take in what one index answered."""
        self.lsns[job.index] = max(self.lsns.get(job.index, 0), sent.lsn)
        self.refused |= {Place(*job.keys[each], job.index): words for each, words in sent.refused.items()}


class Sending:
    """Writes to the indexes of one project. `writer_of` gives the writer of an index."""

    def __init__(self, writer_of: Callable[[str], IndexWriter]) -> None:
        self._writer_of = writer_of
        self._threads = ThreadPoolExecutor(_JOBS_AT_ONCE, thread_name_prefix="pinecone-index")

    @contextmanager
    def flight(self, namespace: str) -> Iterator[Flight]:
        """Writes to this namespace, which have all ended when the block has, come what may."""
        flight = Flight(self._threads, self._writer_of, namespace)
        try:
            yield flight
        finally:
            flight.end()

    def close(self) -> None:
        """Release the threads."""
        self._threads.shutdown()


class Flight:
    """Plans that are being carried out in one namespace, while the next one is made."""

    def __init__(self, threads: Executor, writer_of: Callable[[str], IndexWriter], namespace: str) -> None:
        self._threads = threads
        self._writer_of = writer_of
        self._namespace = namespace
        self._under_way: list[tuple[_Job, Future[Sent]]] = []
        self._calls: list[CancellableCall[Sent]] = []

    def write(self, plan: Plan) -> None:
        """Begin to upsert and update what the plan says."""
        self._begin(_upsert(index, features) for index, features in plan.upserts.items())
        self._begin(_update(index, features) for index, features in plan.updates.items())

    def delete(self, plan: Plan) -> None:
        """Begin to delete what the plan says."""
        self._begin(_delete(index, keys) for index, keys in plan.deletes.items())

    def landed(self) -> Written:
        """What every index has answered, once all of them have. Raises the first error."""
        self.end()
        written = Written()
        for job, future in self._under_way:
            written.add(job, future.result())
        self._under_way.clear()
        self._calls.clear()
        return written

    def end(self) -> None:
        """Wait until nothing is under way; when the call on this thread is cancelled, so is what is."""
        while wait(futures := [future for _, future in self._under_way], timeout=_GLANCE_SECONDS).not_done:
            if is_cancelled():
                self._cancel(futures)
                check_cancelled()

    def _cancel(self, futures: Sequence[Future[Sent]]) -> None:
        for call in self._calls:
            call.cancel()
        with ExitStack() as aborted:
            for index in {job.index for job, _ in self._under_way}:
                aborted.enter_context(self._writer_of(index).aborting())
            wait([future for future in futures if not future.cancel()])

    def _begin(self, jobs: Iterable[_Job]) -> None:
        for job in jobs:
            writer = self._writer_of(job.index)
            call = CancellableCall(partial(job.work, writer, self._namespace))
            self._calls.append(call)
            self._under_way.append((job, self._threads.submit(call)))


@dataclass(frozen=True, slots=True)
class _Job:
    """What one index is sent, and the features by record id."""

    index: str
    work: Callable[[IndexWriter, str], Sent]
    keys: Mapping[str, FeatureKey]


def _upsert(index: str, features: Sequence[WantedFeature]) -> _Job:
    def work(writer: IndexWriter, namespace: str) -> Sent:
        return writer.upsert(namespace, (_encoded(one, index) for one in features))

    return _Job(index, work, _keys(features))


def _update(index: str, features: Sequence[WantedFeature]) -> _Job:
    def work(writer: IndexWriter, namespace: str) -> Sent:
        return writer.update(namespace, ((record_id(*one.key), one.metadata) for one in features))

    return _Job(index, work, _keys(features))


def _delete(index: str, keys: Sequence[FeatureKey]) -> _Job:
    ids = {record_id(*key): key for key in keys}

    def work(writer: IndexWriter, namespace: str) -> Sent:
        sent = writer.delete(namespace, ids)
        for identifier, words in sent.refused.items():  # what is still there must not be forgotten
            raise DestinationError(f"Pinecone refuses to delete the record {identifier} from {index} ({words}).")
        return sent

    return _Job(index, work, ids)


def _keys(features: Iterable[WantedFeature]) -> dict[str, FeatureKey]:
    return {record_id(*one.key): one.key for one in features}


def _encoded(one: WantedFeature, index: str) -> EncodedRecord:
    record = one.records[index]
    return encode_record(record_id(*one.key), record.dense, record.sparse, one.metadata)
