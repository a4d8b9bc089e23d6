"""Carries out a plan: what is written goes to every index at once, and only then what is deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final

from .._postgres import FeatureKey
from ._bodies import EncodedRecord, encode_record
from ._ids import record_id
from ._plan import Plan
from ._wanted import WantedFeature
from ._writer import IndexWriter, Sent

__all__ = ["Sending", "Written"]

_INDEXES_AT_ONCE: Final = 16


@dataclass(slots=True)
class Written:
    """The highest write per index, by the store's own numbers, and the features it refused, with its words."""

    lsns: dict[str, int] = field(default_factory=dict)
    refused: dict[FeatureKey, str] = field(default_factory=dict)

    def add(self, job: _Job, sent: Sent) -> None:
        """Take in what one index answered."""
        self.lsns[job.index] = max(self.lsns.get(job.index, 0), sent.lsn)
        self.refused |= {job.keys[each]: words for each, words in sent.refused.items()}


class Sending:
    """Writes to the indexes of one project. `writer_of` gives the writer of an index."""

    def __init__(self, writer_of: Callable[[str], IndexWriter]) -> None:
        self._writer_of = writer_of
        self._threads = ThreadPoolExecutor(_INDEXES_AT_ONCE, thread_name_prefix="pinecone-index")

    def write(self, plan: Plan, namespace: str) -> Written:
        """Upsert and update what the plan says. Returns when every index has answered, raises the first error."""
        jobs = [_upsert(index, features) for index, features in plan.upserts.items()]
        jobs += [_update(index, features) for index, features in plan.updates.items()]
        return self._carry_out(jobs, namespace)

    def delete(self, plans: Iterable[Plan], namespace: str) -> Mapping[str, int]:
        """Delete what the plans say. The highest write per index."""
        jobs = [_delete(index, keys) for plan in plans for index, keys in plan.deletes.items()]
        return self._carry_out(jobs, namespace).lsns

    def close(self) -> None:
        """Release the threads."""
        self._threads.shutdown()

    def _carry_out(self, jobs: Sequence[_Job], namespace: str) -> Written:
        """Each job in a thread of its own. All have ended when this returns or raises."""
        futures = [self._threads.submit(job.work, self._writer_of(job.index), namespace) for job in jobs]
        wait(futures)
        written = Written()
        for job, future in zip(jobs, futures, strict=True):
            written.add(job, future.result())
        return written


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
    return _Job(index, lambda writer, namespace: writer.delete(namespace, ids), ids)


def _keys(features: Iterable[WantedFeature]) -> dict[str, FeatureKey]:
    return {record_id(*one.key): one.key for one in features}


def _encoded(one: WantedFeature, index: str) -> EncodedRecord:
    record = one.records[index]
    return encode_record(record_id(*one.key), record.dense, record.sparse, one.metadata)
