"""One Pinecone project as a sync uses it: the control plane, and a writer and a reader per index."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pinecone import Pinecone

from ._address import index_address
from ._errors import translated
from ._indexes import ControlPlane
from ._limits import WriterLimits
from ._manifest import IndexRow
from ._reader import IndexReader
from ._requests import check_key
from ._usage import WriteUsage
from ._writer import IndexWriter

__all__ = ["Project", "ProjectSettings"]


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """Where the project is, and what its indexes are made with and called."""

    api_key: str = field(repr=False)
    host: str
    prefix: str
    cloud: str
    region: str
    limits: WriterLimits


class Project:
    """Connections to a project. Nothing is sent before a method is called."""

    def __init__(self, settings: ProjectSettings) -> None:
        self.usage = WriteUsage()
        self._settings = settings
        check_key(settings.api_key)
        with translated("opening the project", settings.api_key):
            self._sdk = Pinecone(api_key=settings.api_key, host=settings.host, source_tag="vectorferry")
        self.control = ControlPlane(self._sdk, settings.api_key, settings.prefix, settings.cloud, settings.region)
        self._pool = ThreadPoolExecutor(settings.limits.concurrency, thread_name_prefix="pinecone-write")
        self._writers: dict[str, IndexWriter] = {}
        self._readers: dict[str, IndexReader] = {}

    def writer(self, row: IndexRow) -> IndexWriter:
        """What writes to this index; the same one each time, as long as it stays where it is."""
        if row.host not in self._writers:
            settings = self._settings
            address = index_address(row.host, settings.host)
            self._writers[row.host] = IndexWriter(
                address, settings.api_key, pool=self._pool, usage=self.usage, limits=settings.limits
            )
        return self._writers[row.host]

    def reader(self, row: IndexRow) -> IndexReader:
        """What reads from this index; the same one each time, as long as it stays where it is."""
        if row.host not in self._readers:
            address = index_address(row.host, self._settings.host)
            with translated(f"opening the index {row.name}", self._settings.api_key):
                self._readers[row.host] = IndexReader(row, self._sdk.index(host=address), self._settings.api_key)
        return self._readers[row.host]

    def close(self) -> None:
        """Release every connection and thread."""
        self._pool.shutdown()
        for writer in self._writers.values():
            writer.close()
        for reader in self._readers.values():
            reader.close()
        self._sdk.close()
