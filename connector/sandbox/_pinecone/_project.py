"""Every index there is."""

from __future__ import annotations

from vectorferry.connector.sandbox._http import RefusedError
from vectorferry.connector.sandbox._pinecone._index import Index, IndexSpec
from vectorferry.connector.sandbox._settings import PineconeDialect

__all__ = ["Project"]


class Project:
    """Indexes by name, in the order in which they were made."""

    def __init__(self, dialect: PineconeDialect) -> None:
        self.dialect = dialect
        self.indexes: dict[str, Index] = {}

    def add(self, spec: IndexSpec) -> Index:
        """A new, empty index; raises a `RefusedError` when the name is taken or there are too many."""
        if spec.name in self.indexes:
            raise RefusedError(409, "Resource already exists.")
        if len(self.indexes) >= self.dialect.max_indexes:
            most = self.dialect.max_indexes
            raise RefusedError(
                403, f"Request failed. You've reached the max serverless indexes of this project ({most})."
            )
        self.indexes[spec.name] = Index(spec, self.dialect)
        return self.indexes[spec.name]

    def index(self, name: str) -> Index:
        """The index of this name, or a 404."""
        if name not in self.indexes:
            raise RefusedError(404, f"Index {name} not found.")
        return self.indexes[name]

    def remove(self, name: str) -> Index:
        """Take an index out; raises a `RefusedError` when there is none or it is protected."""
        index = self.index(name)
        if index.spec.protected:
            message = "Deletion protection is enabled for this index. Disable deletion protection before retrying."
            raise RefusedError(403, message)
        return self.indexes.pop(name)
