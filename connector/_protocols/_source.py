"""The source that every API is for the engine. Third parties add one through the entry point group
``vectorferry.sources``."""

# ruff: noqa: ARG002 - what the base has no use for, those that override it have

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, TypeAlias

from pydantic import Field, PrivateAttr

from vectorferry.connector._model._limits import SourceLimits
from vectorferry.connector._model._mapping import ColumnMapping
from vectorferry.connector._model._records import Asset, Listing, Modality, Rejected, Vector
from vectorferry.connector._model._related import RelatedTable
from vectorferry.connector._model._settings_base import Settings
from vectorferry.connector._protocols._allowance import Allowance
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._scale import Leg, Load, VectorLoad


@dataclass(slots=True)
class Usage:
    """What talking to the source has cost so far."""

    requests: int = 0
    retries: int = 0
    bytes: int = 0


SettingsClass: TypeAlias = type[Settings]

Origin: TypeAlias = Mapping[str, str]
"""By part (``source``, ``base_url``, ``namespace``, ``organization``, ``key``), who a collection is read as. Of a key
it holds a hash, never the key."""


class SubmissionState(StrEnum):
    """How far a submitted file has come. From `INDEXING` on the service goes on by itself."""

    FETCHING = "fetching"
    INDEXING = "indexing"
    READY = "ready"
    SKIPPED = "skipped"  # the service has the same file already, and made nothing anew
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Submission:
    """One URL that was submitted to one collection. `asset_id` is the asset's in that collection, empty until it has
    one, and that of the file that was there already where this one was skipped; `known` says that the service had this
    URL already and nothing was uploaded; `detail` says what failed, `status` is the service's own word for the state,
    and `note` what else somebody should know."""

    url: str
    state: SubmissionState
    asset_id: str = ""
    known: bool = False
    detail: str = ""
    status: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """How files are submitted. `metadata` goes with each asset; `settings` say what the service is to make of a file,
    as the source's `submit_settings` spell it (None: what it makes by itself); `again`: also what it has already."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    settings: Settings | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class SourceQuery:
    """What a source's own search is asked for: the best `limit` hits for a text.

    `options` are the service's words for what is looked at (``visual``, a model's name); none: all that the collection
    has. `filters` are values by the service's own field names, or its own form of a filter.
    """

    text: str
    limit: int = 10
    options: Sequence[str] = ()
    filters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RetrieverQuery:
    """What a retriever of the source's is asked for: a stored one, by name or id, or one that is made of `stages` for
    this once (`schema` describes its inputs). `inputs` are what its stages are filled with."""

    retriever: str = ""
    stages: Sequence[Mapping[str, Any]] = ()
    schema: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    limit: int = 10
    filters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """What a source's own search found: an asset, and from `start` to `end` (seconds) where it is a piece of one.
    `rank` begins at 1, the best; `text` is what the service shows with it, and `feature_id` the feature's, where the
    service's hits are features; `score` is its own measure. `collection` is named where it may be another one."""

    asset_id: str
    rank: int
    start: float | None = None
    end: float | None = None
    text: str = ""
    feature_id: str = ""
    score: float | None = None
    collection: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A stored feature whose neighbours are asked for: its vector of this name, and what its columns say in words."""

    feature_id: str
    modality: Modality
    vector_name: str
    vector: Vector
    text: str = ""


@dataclass(frozen=True, slots=True)
class EmbeddedText:
    """The vector of a text, under the model (of a named vector, or as the service calls it) that made it."""

    model: str
    vector: Vector


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The ids of the features that a source's own search finds near a `vector`, nearest first."""

    vector: Vector
    feature_ids: Sequence[str]


class Source(ABC):
    """Something that assets and their features are pulled from. Used by one event loop at a time.

    What is abstract every source does. What has an answer here is overridden where there is more to say. The rest
    belongs to a `Capability`, which its docstring names: whoever overrides these methods declares it, and they raise
    `NotSupportedError` where it is not declared.
    """

    capabilities: frozenset[Capability] = frozenset()
    """What this one does beyond what every source must."""

    makes_collections: bool = False
    """Whether submitting to a collection that is not there makes it."""

    @property
    @abstractmethod
    def usage(self) -> Usage:
        """Requests, retries and answer bytes so far."""

    @abstractmethod
    async def collections(self) -> Sequence[str]:
        """The ids of the collections this source was configured for (all of them when none was named)."""

    @abstractmethod
    def scan(self, collection: str) -> AsyncIterator[Listing]:
        """List every asset of a collection once, cheaply, finished or not.

        Ending normally promises that the listing was complete. Raises `IncompleteScanError` at its end when it
        cannot promise that (the count disagrees, rows moved between pages).
        """

    @abstractmethod
    def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
        """Read these assets with features and vectors, concurrently, in any order, never more than a bounded
        number ahead of the consumer.

        An asset that vanished meanwhile is left out; that it did, more than its own answer has to say. One that no
        usable answer came for, however often it was asked for, is a `Rejected` with `Reason.UNREADABLE` and an empty
        feature id: nothing is known of it, so it stays as it is stored, and its collection has failed. Every other
        `Rejected` is a bad record, and is set aside.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Release connections."""

    # What has an answer where a source has nothing to say.

    @property
    def not_found(self) -> Mapping[str, str]:
        """Those collections that the settings name and the last `collections` did not find, each with why: misspelt, or
        expired, deleted or renamed since. `collections` raises `ConfigurationError` when it finds none of them."""
        return {}

    def is_gone(self, collection: str) -> bool:
        """Whether the service no longer has a collection that `collections` did not name just now. False where that
        says nothing, because the settings leave it out, and where a source cannot tell."""
        return False

    async def identity(self, collection: str) -> Origin:
        """Whatever decides which assets this source sees of a collection: the service, the account, the key.

        A few short texts by part; one that the service does not tell is left out. The same as long as nothing has
        changed, also in another process. The empty collection stands for the tables of metadata.
        """
        return {"source": type(self).__name__}

    @property
    def related_tables(self) -> Sequence[RelatedTable]:
        """The tables of metadata beside its assets, none when its settings leave them out. No request is made."""
        return ()

    async def related_rows(self, table: RelatedTable) -> AsyncIterator[Mapping[str, Any]]:
        """Every row of one of them, as JSON values by column; a column that is left out is empty.

        Ending normally promises that these were all. Raises `IncompleteScanError` at its end when it cannot promise
        that.
        """
        return
        yield

    def requests_to_read(self, assets: int, features: int) -> int | None:
        """How many requests it takes to read so many assets with so many features altogether, without retries; None
        where a source cannot tell."""
        return None

    def check_submission(self, urls: Sequence[str], options: SubmitOptions) -> None:  # noqa: B027
        """Raise `ConfigurationError` where these files cannot be submitted with these options. Sends nothing."""

    def expect(self, cursors: Mapping[str, str]) -> None:  # noqa: B027 - most sources list their collections
        """Told before `collections` what this run would follow: the cursor of every collection that is stored, when all
        of them can be followed. A source whose cursors tell that no collection has come or gone either need not list
        them then."""

    def expect_all(self, collection: str) -> None:  # noqa: B027 - most sources list without vectors
        """Told before `scan` that all that this lists as ready is going to be pulled: nothing of the collection is
        stored, or everything is read again. A source whose list can hold what `pull` reads may list it with that, as
        long as it keeps a bounded number of these answers."""

    def share(self, allowance: Allowance) -> None:  # noqa: B027 - what asks no service has none
        """Keep to the service's limits together with all processes that borrow from this allowance."""

    def vector_metrics(self) -> Mapping[str, str]:
        """By dense named vector, the `metric` of a mapping by which the service itself compares, as far as it has told
        so far; it is compared with the mapping's."""
        return {}

    # What belongs to a capability.

    def scan_changed(self, collection: str, since: str) -> AsyncIterator[Listing]:
        """`CHANGED_SINCE`: list every asset that has changed after the cursor `since`, and as many others as is
        convenient. Deletes need not be listed: full scans find them.

        Declared where the answer can be trusted: whatever would make a `Listing` differ (content, metadata, state, an
        asset that comes back) moves the asset behind every cursor that was given out before. Where the service promises
        less, leave this out.

        Ending normally promises that none is missing. Raises `IncompleteScanError` when it cannot promise that (the
        service has forgotten that far back, the cursor is another account's): then everything is listed.
        """
        raise Capability.CHANGED_SINCE.missing()

    async def cursor(self, collection: str) -> str | None:
        """`CHANGED_SINCE`: where the next `scan_changed` has to begin, after a scan of either kind has ended normally;
        None: nowhere.

        It is the source's own mark (a time or number from its answers, never from a clock of ours), read by nobody
        else, at most 4,000 bytes long. It says how far the service was when that scan began: the newest mark of all its
        pages would pass over an asset that changed after its own page was read. And it is already moved back by as much
        as the service may be late in showing a change, so that what was committed late is seen again; seeing an
        unchanged asset again costs nothing.
        """
        raise Capability.CHANGED_SINCE.missing()

    def submit(self, collection: str, url: str, options: SubmitOptions) -> AsyncIterator[Submission]:
        """`SUBMIT`: have the service fetch what is at this URL and index it in the collection; yields each change, the
        last one `READY`, `SKIPPED` or `FAILED`.

        A URL that was submitted before is taken up where it is, unless `again`. Closing early ends the watching only.
        Raises `SourceError` where the service cannot be asked. `check_submission` has been asked before.
        """
        raise Capability.SUBMIT.missing()

    async def search(self, collection: str, query: SourceQuery) -> Sequence[Hit]:
        """`SEARCH`: the best hits in one collection, best first. Raises `SourceError`, and `ConfigurationError` for a
        question that the service cannot be asked."""
        raise Capability.SEARCH.missing()

    async def embed(self, text: str, vector_name: str | None) -> EmbeddedText:
        """`EMBED`: the vector that the service makes of a text, by the model of a named vector (None: of the one that
        its own search uses). Raises `SourceError`, and `ConfigurationError` for what the service cannot be asked."""
        raise Capability.EMBED.missing()

    async def retrieve(self, collection: str, query: RetrieverQuery) -> Sequence[Hit]:
        """`RETRIEVERS`: what a retriever finds, best first; one that is made for this once looks into the collection.
        Raises as `search` does."""
        raise Capability.RETRIEVERS.missing()

    async def neighbours(self, collection: str, probe: Probe, *, limit: int) -> Neighbours | None:
        """`NEIGHBOURS`: the nearest `limit` features of the probe's modality in one collection, under its named vector:
        of the probe's vector, or of the one that the service makes of its words where it takes no vector. None where it
        takes no such vector, or would need words and there are none. Raises `SourceError`."""
        raise Capability.NEIGHBOURS.missing()


class SourceSettings(Settings, ABC):
    """What a plug-in of the group ``vectorferry.sources`` provides. `type` is the entry point's name.

    Keys are fields of type `SecretStr`: that is what keeps them out of everything that is shown. A source that can be
    narrowed to some collections has a field `collections`, a tuple of ids or names that `Source.collections` honours.
    """

    type: str
    reread_days: float | None = Field(
        default=None,
        gt=0,
        le=3_650,
        description="days until an asset that seems unchanged is read again, each at a time of its own; none: never",
    )

    submit_settings: ClassVar[SettingsClass | None] = None
    """What a file of settings for `Source.submit` is checked against; None: there are none to be made."""

    _limits: SourceLimits = PrivateAttr(default_factory=SourceLimits)

    @property
    def limits(self) -> SourceLimits:
        """What the sync lets it make, for sources that can tell before they build any record."""
        return self._limits

    def keep_within(self, limits: SourceLimits) -> None:
        """Open sources that know these limits."""
        self._limits = limits

    @property
    def default_columns(self) -> Mapping[Modality, Mapping[str, ColumnMapping]]:
        """The columns that features of this source have besides the usual ones, where the mapping names no other under
        that name."""
        return {}

    def console(self, collection: str) -> str | None:
        """Where a person looks at a collection in the service's own web pages; None where that is not known."""
        return None

    def load(self, features: int) -> Load:
        """What so many features of this source usually are, where nothing is stored that would tell."""
        return Load(max(1, features // 10), features, [VectorLoad(Modality.VIDEO, "vector", 1024, features)])

    def legs(self, load: Load) -> Sequence[Leg]:
        """What listing and reading so much takes by these settings; nothing where that is not known. Asks nobody."""
        return ()

    @abstractmethod
    def open(self) -> Source:
        """A source with these settings, every ``${NAME}`` already resolved. No request is made yet."""
