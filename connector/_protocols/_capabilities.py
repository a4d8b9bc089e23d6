"""What a source or a destination may be able to do beyond what every one must."""

from __future__ import annotations

from collections.abc import Set
from enum import Enum

from vectorferry.connector._model._errors import NotSupportedError


class Capability(Enum):
    """What may be asked of a source or destination that declares it; the value says what one without it does not do.

    Whoever declares one provides all methods whose docstring begins with it, and passes its conformance tests.
    """

    # of destinations
    ALLOWANCE = "keeps no allowance that processes could share"
    CONTENTS = "does not tell what is in an asset"
    CURSORS = "keeps no cursor"
    INDEXES = "has no vector indexes of its own making"
    LOCK = "cannot be locked"
    ORIGINS = "does not keep who read a collection"
    PLAN = "this destination cannot say beforehand what a sync would do"
    QUARANTINE = "does not show what it has in quarantine"
    RELATED_TABLES = "holds no tables of metadata"
    RUNS = "keeps no record of runs"
    SECURITY = "does not tell what others may do with what it holds"
    SHARDS = "cannot be written by several workers at once"
    SQL = "is not asked in SQL"
    STORED_ASSETS = "does not keep whole assets, so nothing can be refilled from it"
    STORED_COLLECTIONS = "does not tell which collections it holds"
    TOMBSTONES = "cannot hide assets"
    VECTOR_TABLES = "keeps no table for each dimension of a vector"
    VERIFY = "this destination cannot be checked against its own books"

    # of sources
    CHANGED_SINCE = "the source has no changed-since cursor that can be trusted"
    EMBED = "the source's service makes no vectors of texts; --model asks a local one"
    NEIGHBOURS = (
        "there is nothing to compare with: this source's search does not answer with the features that it gives"
    )
    RETRIEVERS = "this source has no retrievers; --text asks its search, if it has one"
    SEARCH = "this source has no search of its own; --like and --vector ask a destination"
    SUBMIT = "this source cannot submit: its service takes media in by other ways"

    def check(self, capabilities: Set[Capability], name: str = "") -> None:
        """Raise `NotSupportedError` unless what is called `name` has this among its capabilities."""
        if self not in capabilities:
            raise self.missing(name)

    def missing(self, name: str = "") -> NotSupportedError:
        """The error to raise where what is called `name` was asked for this."""
        return NotSupportedError(f"{name}: {self.value}" if name else self.value)
