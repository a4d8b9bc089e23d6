"""Bringing a schema to its mapping, and to the named vectors that arrive: steps, worked out first and then run.

What they do depends only on what is there before the first of them. So `plan`, which prints them, and `prepare`, which
runs them, cannot disagree, and whatever is refused is refused before anything is touched.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from psycopg import sql
from psycopg.errors import UndefinedTable
from sqlalchemy import ColumnElement, Connection, Table, delete, literal, or_, text, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ProgrammingError

from vectorferry.connector.plugin import (
    MODALITIES,
    ConfigurationError,
    DestinationError,
    Modality,
    SchemaMapping,
    closest,
)
from vectorferry.destinations._postgres import (
    Damage,
    Relations,
    Step,
    answers,
    columns_of,
    damages_in,
    driver_of,
    joined,
    lock_ddl,
    refusal_of,
    rights_in,
    run,
    statement,
    steps_to_create,
    stored_definitions,
    table_steps,
)
from vectorferry.destinations.pgvector._catalogue import (
    Catalogue,
    Layer,
    VectorEntry,
    VectorKey,
    entry_insertion,
    entry_update,
    names_exist,
)
from vectorferry.destinations.pgvector._columns import TableChange, checked_change
from vectorferry.destinations.pgvector._comments import (
    Described,
    comment_steps,
    stored_comments,
    table_descriptions,
    vector_descriptions,
)
from vectorferry.destinations.pgvector._database import CREATE_EXTENSION, EXTENSION, Extension, extension_of
from vectorferry.destinations.pgvector._functions import functions_steps, replaced_functions, stored_functions
from vectorferry.destinations.pgvector._grants import grants_on_new, relation_grants, row_security_statements
from vectorferry.destinations.pgvector._schema import CHOSEN_INDEX, Recorded, SyncSchema, feature_tables
from vectorferry.destinations.pgvector._storage import VectorStorage
from vectorferry.destinations.pgvector._tables import FIXED_FEATURE_COLUMNS, SyncTables, vector_table
from vectorferry.destinations.pgvector._views import (
    Shown,
    StoredLayers,
    check_alone,
    function_steps,
    layer_digest,
    layer_steps,
    seal_of,
    stored_seals,
    stored_signatures,
)

_log = logging.getLogger("vectorferry")
_UNCHANGED: Final[Mapping[Modality, TableChange]] = {}


@dataclass(frozen=True, slots=True)
class Preparation:
    """What brings a schema to its mapping. `reindexed` are the generations whose index is dropped and built anew; it
    `reshapes` where columns that are there are renamed, cast or dropped, or an index is. `lost` are the tables that
    somebody has dropped since, `missed` those of them that are no retired generation's, and had values; `damaged` what
    somebody has taken away from others, `replaced` what is said of views and functions that are not as they were made;
    `reread` says of a ledger's row that its asset is to be read again."""

    steps: Sequence[Step]
    reindexed: Sequence[VectorEntry] = ()
    reshapes: bool = False
    lost: Collection[str] = ()
    missed: Collection[str] = ()
    damaged: Sequence[Damage] = ()
    replaced: Sequence[str] = ()
    reread: ColumnElement[bool] | None = None
    foreign: str | None = None
    """Why a table that is there is not ours to write to."""
    is_first: bool = False
    """Nothing was ever prepared here."""


def prepare(schema: SyncSchema) -> None:
    """Make the schema and its tables, change columns, bring views and functions up to the mapping. Nothing is written
    when nothing is missing. Raises `DestinationError` where this user may not, and what `preparation` raises."""
    database = schema.database
    with database.plain_transaction() as connection:
        standing = look_at(connection, schema)
        if standing.refusal:
            raise DestinationError(standing.refusal)
        if not standing.extension.steps and _is_prepared(schema, standing.relations):
            return
    if standing.extension.steps:
        database.enable_extension()
    with database.transaction() as connection:
        lock_ddl(connection, schema.name)
        relations = Relations(connection, schema.name)
        relations.read(schema.tables_made_first())
        prepared = preparation(relations, schema)
        if prepared.foreign:
            raise DestinationError(prepared.foreign)
        if prepared.steps:
            run(connection, prepared.steps)
            schema.read_catalogue(connection)
    for note in loss_notes(prepared):
        _log.warning("%s", note)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a server has before anything is done, and why this user cannot sync into it, if so."""

    extension: Extension
    refusal: str | None
    relations: Relations


def look_at(connection: Connection, schema: SyncSchema) -> Standing:
    """All that can be asked in one message. Raises `DestinationError` for a server that has no pgvector to enable."""
    database, tables = schema.database, schema.tables_made_first()
    relations = Relations(connection, schema.name)
    *of_extension, (rights,) = relations.read(tables, *EXTENSION, rights_in(schema.name))
    extension = extension_of(of_extension, database.location)
    database.know_extension(extension)
    refusal = refusal_of(relations, rights, tables, database.location, extension.missing_rights)
    return Standing(extension, refusal, relations)


def _is_prepared(schema: SyncSchema, relations: Relations) -> bool:
    """Whether nothing is to be done, which is mostly so and can be seen without a lock: somebody who is changing the
    schema has changed nothing yet. What is not as it should be is looked at again."""
    try:
        prepared = preparation(relations, schema)
    except (ConfigurationError, UndefinedTable, ProgrammingError):  # the last two of what goes while it is looked at
        return False
    return not (prepared.steps or prepared.foreign or prepared.replaced)


def loss_notes(prepared: Preparation) -> list[str]:
    """What is said of tables that somebody has dropped, or has taken something away from."""
    lost = map(_loss_note, sorted(prepared.missed))
    return [*lost, *(damage.note() for damage in prepared.damaged), *prepared.replaced]


def _loss_note(table: str) -> str:
    return (
        f"{table}: the table was dropped; it is made again, and what was in it is read again. Rights and row security "
        "that it had, and views on it, are gone with it: look whether its readers see what they may"
    )


def first_steps(schema: str, mapping: SchemaMapping) -> list[Step]:
    """What prepares a schema on a server on which there is nothing yet."""
    tables, features = SyncTables(schema), feature_tables(schema, mapping)
    created = steps_to_create(None, schema, tables.metadata, *(table.metadata for table in features.values()))
    comments = comment_steps(schema, table_descriptions(tables, features, mapping))
    return [CREATE_EXTENSION, *created, *comments]


def preparation(relations: Relations, schema: SyncSchema) -> Preparation:
    """Work it out, and change nothing. `relations` are to know of the tables that are made first. Raises
    `ConfigurationError` for a mapping that what is there cannot be brought to, and for a schema of an early version."""
    connection = relations.connection
    _check_languages(connection, schema.mapping)
    features = (table.metadata for table in schema.features.values())
    created = steps_to_create(relations, schema.name, schema.tables.metadata, *features)
    described = [*table_descriptions(schema.tables, schema.features, schema.mapping)]
    tables = [each.name for each in described]
    if (books := schema.read_books(relations)) is None:
        (stored_words,) = answers(connection, stored_comments(schema.name, tables))
        comments = comment_steps(schema.name, described, stored_words)
        _table_changes(connection, schema, _stored_columns(relations, schema), {})
        # Where somebody has dropped the ledger only, nothing is known of what the cursors have passed over.
        cursors = schema.tables.cursors
        unfollowed = [delete(cursors)] if cursors.name in relations.columns else []
        steps: list[Step] = [*created, *unfollowed, *comments, *_records(schema, {})]
        return Preparation(steps, foreign=relations.why_foreign(schema.written_tables()), is_first=True)
    recorded, entries = books
    _check_tables(schema, recorded)
    relations.check_layout({table: FIXED_FEATURE_COLUMNS for table, _ in recorded.values()})
    schema.catalogue = schema.catalogue_in(entries)
    layers = _layers(schema, schema.catalogue.values())
    indexes, functions, signatures, seals, stored_words, definitions = relations.read(
        [*_names_of(layers), *(entry.table for entry in schema.catalogue.values())],
        _INDEXES.bindparams(schema=schema.name, prefix=CHOSEN_INDEX),
        stored_functions(schema.name),
        stored_signatures(schema.name, layers),
        stored_seals(schema.name, layers),
        stored_comments(schema.name, [*tables, *_described(schema.catalogue.values(), layers)]),
        stored_definitions(schema.name, schema.written_tables()),
    )
    relations.check_harmless(entry.table for entry in schema.catalogue.values())
    comments = comment_steps(schema.name, described, stored_words)
    present = _present_in(relations, signatures, seals, stored_words)
    stored = _stored_columns(relations, schema)
    lost = _lost_tables(schema, stored)
    retired = {entry.table for entry in schema.catalogue.values() if entry.state == "retired"}
    missed = {name: modality for name, modality in lost.items() if name not in retired}
    changes = _table_changes(connection, schema, stored, recorded)
    reindexed = [entry for entry in schema.catalogue.values() if schema.desired_storage(entry) != entry.storage]
    catalogue = schema.catalogue.changed(*(replace(e, storage=schema.desired_storage(e)) for e in reindexed))
    damaged = _damages(schema, definitions)
    reshaped = {of for damage in damaged if damage.reshapes for of in _showing(schema, damage.table)}
    reread = _reread(schema, missed.values(), reindexed, damaged)
    return Preparation(
        [
            *created,
            *_anew_steps(connection, schema, lost),
            *_lock_views(connection, schema, changes, {entry.modality for entry in reindexed} | reshaped),
            *_unchosen_indexes(schema, [str(name) for (name,) in indexes]),
            *_reread_steps(schema, reread),
            *(step for change in changes.values() for step in change.steps(connection)),
            *_mending_steps(connection, schema, damaged, reshaped),
            *comments,
            *_records(schema, recorded),
            *(_drop_index(schema, entry) for entry in reindexed),
            *(_shared_functions(connection, schema, functions) if catalogue else ()),
            *refresh_steps(connection, schema, catalogue, [*catalogue.values()], changes, reshaped, present),
        ],
        reindexed=reindexed,
        reshapes=bool(reindexed) or any(change.reshapes for change in changes.values()),
        lost=lost.keys(),
        missed=missed.keys(),
        damaged=damaged,
        replaced=[
            *replaced_functions(schema.name, schema.database.extension_schema, schema.mapping, functions),
            *_replacements(connection, schema, present),
        ],
        reread=reread,
        foreign=relations.why_foreign(schema.written_tables()),
    )


@dataclass(frozen=True, slots=True)
class _Present:
    """What is there of what shows the generations: layers, and the rows that `comment_steps` takes."""

    layers: StoredLayers
    comments: Sequence[Any]


def _layers(schema: SyncSchema, generations: Iterable[VectorEntry]) -> list[Layer]:
    return [shown.layer for entry in generations for shown, _ in _shown(schema, schema.catalogue, entry)]


def _names_of(layers: Iterable[Layer]) -> Iterator[str]:
    for layer in layers:
        yield from (layer.view, layer.match_type)


def _described(generations: Iterable[VectorEntry], layers: Iterable[Layer]) -> list[str]:
    """What has comments."""
    return [*(entry.table for entry in generations), *(layer.view for layer in layers)]


def _present(
    connection: Connection, name: str, generations: Sequence[VectorEntry], layers: Sequence[Layer]
) -> _Present:
    relations = Relations(connection, name)
    words = stored_comments(name, _described(generations, layers))
    asked = (stored_signatures(name, layers), stored_seals(name, layers), words)
    return _present_in(relations, *relations.read(_names_of(layers), *asked))


def _present_in(
    relations: Relations, signatures: Iterable[Any], seals: Iterable[Any], comments: Sequence[Any]
) -> _Present:
    functions, by_view = {str(name) for name, *_ in signatures}, {view: (seal, owner) for view, seal, owner in seals}
    return _Present(StoredLayers(relations.columns, functions, by_view), comments)


def _replacements(connection: Connection, schema: SyncSchema, present: _Present) -> Iterator[str]:
    """What is said of layers that were made as this version makes them, and are not so any more."""
    extension = schema.database.extension_schema
    for entry in schema.catalogue.values():
        for shown, recorded in _shown(schema, schema.catalogue, entry):
            if _ingredients_of(recorded) == layer_digest(shown, schema.name, extension):
                yield from present.layers.replacements(driver_of(connection), schema.name, shown, _seal_of(recorded))


_Columns: TypeAlias = Mapping[str, Mapping[str, str]]
"""By table: its columns, each with its type."""


def _stored_columns(relations: Relations, schema: SyncSchema) -> _Columns:
    return {name: relations.columns[name] for name in _tables_of_rows(schema) if name in relations.columns}


def _tables_of_rows(schema: SyncSchema) -> dict[str, Modality | None]:
    """Each with the modality of its rows, the one of the assets with none."""
    features = {table.name: modality for modality, table in schema.features.items()}
    vectors = {entry.table: entry.modality for entry in schema.catalogue.values()}
    return {schema.tables.assets.name: None, **features, **vectors}


def _lost_tables(schema: SyncSchema, stored: _Columns) -> dict[str, Modality | None]:
    """Those tables of rows that are not there any more, with the modality of their rows. Raises `ConfigurationError`
    for tables of vectors without their vectors."""
    vectors = [entry.table for entry in schema.catalogue.values()]
    if emptied := [name for name in vectors if name in stored and "embedding" not in stored[name]]:
        dropped = statement("DROP TABLE {} CASCADE;", joined(sql.Identifier(schema.name, name) for name in emptied))
        raise ConfigurationError(
            f"the table {schema.name}.{emptied[0]} has no column embedding any more: that goes with the extension "
            f"vector, when somebody drops it. Run this, and sync again, which reads all of it anew: {dropped}"
        )
    return {name: modality for name, modality in _tables_of_rows(schema).items() if name not in stored}


def _anew_steps(connection: Connection, schema: SyncSchema, lost: Collection[str]) -> Iterator[Step]:
    """What makes the lost tables of generations, each with the rights and the row security of another one of its name
    that is there."""
    for entry in (each for each in schema.catalogue.values() if each.table in lost):
        yield from table_steps([schema.vector_table(entry)])
        others = schema.catalogue.generations(entry.modality, entry.vector_name)
        for other in [each for each in others if each.table not in lost][-1:]:
            yield from _protection_steps(connection, schema, other.table, schema.vector_table(entry))


def _protection_steps(connection: Connection, schema: SyncSchema, model: str, table: Table) -> Iterator[Step]:
    """What gives a new table the rights and the row security of a table like it."""
    driver, target = driver_of(connection), sql.Identifier(schema.name, table.name)
    grants = relation_grants(driver, schema.name, model)
    shared = [grant for grant in grants if grant.column is None or grant.column in table.columns]
    yield from row_security_statements(driver, schema.name, model, table.name)
    yield from grants_on_new(driver, schema.name, "TABLE", target, shared)


_INDEXES: Final = text("""
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND starts_with(c.relname, :prefix) AND c.relkind = 'i' ORDER BY 1
""")
_LANGUAGES: Final = "SELECT cfgname FROM pg_ts_config WHERE cfgnamespace = 'pg_catalog'::regnamespace ORDER BY 1"


def _unchosen_indexes(schema: SyncSchema, names: Iterable[str]) -> Iterator[str]:
    """Drop those that the mapping does not want any more: before the columns change, since one may be in the way."""
    chosen = {lookup.name for modality in MODALITIES for lookup in schema.chosen_lookups(modality)}
    for name in names:
        if name not in chosen:
            yield statement("DROP INDEX {}", sql.Identifier(schema.name, name))


def _check_languages(connection: Connection, mapping: SchemaMapping) -> None:
    """Raise `ConfigurationError` for a language that this server does not know."""
    named = {
        f"modalities.{modality}.columns.{name}.full_text": column.full_text
        for modality in MODALITIES
        for name, column in mapping.columns(modality).items()
        if column.full_text
    }
    known = [str(name) for (name,) in driver_of(connection).execute(_LANGUAGES)] if named else []
    for key, language in named.items():
        if language not in known:
            near = closest(language, known)
            raise ConfigurationError(
                f"{key}: this Postgres knows no language {language}; choose one of {', '.join(known)}{near}"
            )


def _check_tables(schema: SyncSchema, recorded: Recorded) -> None:
    """Raise `ConfigurationError` when features of a modality are in another table than the mapping says."""
    for modality, (table, _) in recorded.items():
        if table != schema.mapping.table(modality):
            raise ConfigurationError(
                f"modalities.{modality}.table: schema {schema.name} already has its {modality} features in the table "
                f"{table}. Set it to {table}, or sync into another `schema`."
            )


def _table_changes(
    connection: Connection, schema: SyncSchema, stored: _Columns, recorded: Recorded
) -> dict[Modality, TableChange]:
    """Of the tables that are there, in the order in which writers visit them."""
    return {
        modality: checked_change(
            connection,
            schema.features[modality],
            stored[schema.features[modality].name],
            _layers_of(schema.catalogue, modality),
            recorded[modality][1] if modality in recorded else {},
            schema.mapping.columns(modality),
        )
        for modality in sorted(MODALITIES)
        if schema.features[modality].name in stored
    }


def _lock_views(
    connection: Connection, schema: SyncSchema, changes: Mapping[Modality, TableChange], reindexed: Collection[Modality]
) -> Iterator[str]:
    """Keep those out who read the views of what is changed, before a table under them is locked.

    Whoever reads a view has locked it by the time that they come to its tables. Would they wait for one that is locked
    here, and this for the view, neither could go on: with a search always under way, a change never ended. There is
    nothing to reset; LOCK TABLE would go on from the first view to its tables.
    """
    for modality in sorted(MODALITIES):
        if modality in reindexed or (modality in changes and not changes[modality].columns.is_none):
            names = [layer.view for layer in _layers_of(schema.catalogue, modality)]
            stored = columns_of(connection, schema.name, names)
            for name in (each for each in names if each in stored):
                yield statement("ALTER VIEW {} RESET (check_option)", sql.Identifier(schema.name, name))


def _layers_of(catalogue: Catalogue, modality: Modality) -> list[Layer]:
    entries = catalogue.of(modality)
    plain = [entry.plain_layer for entry in entries if entry.state == "current"]
    return [*plain, *(entry.own_layer for entry in entries if entry.own_layer)]


def _records(schema: SyncSchema, recorded: Recorded) -> Iterator[Step]:
    """The table and the columns of each modality, for the next time."""
    for modality in MODALITIES:
        table, columns = schema.mapping.table(modality), schema.mapping.columns(modality)
        if recorded.get(modality) != (table, columns):
            written = {name: column.model_dump() for name, column in columns.items()}
            row = insert(schema.tables.modalities).values(modality=modality.value, table_name=table, columns=written)
            yield row.on_conflict_do_update(index_elements=["modality"], set_={"columns": row.excluded.columns})


def _drop_index(schema: SyncSchema, entry: VectorEntry) -> str:
    return statement("DROP INDEX IF EXISTS {}", sql.Identifier(schema.name, entry.index))


def _reread(
    schema: SyncSchema,
    lost: Collection[Modality | None],
    reindexed: Iterable[VectorEntry],
    damaged: Sequence[Damage],
) -> ColumnElement[bool] | None:
    """Of a ledger's row: it names what was in a lost table, of assets (None) or of features and vectors of these
    modalities, or in a damaged one; or has vectors that did not fit the storage as it was, and may now."""
    refitted = {entry.modality for entry in reindexed}
    vectors = (schema.vector_table(entry) for entry in schema.catalogue.values())
    rows = [schema.tables.assets, *schema.features.values(), *vectors]
    conditions = [
        *([schema.tables.has_set_aside(refitted)] if refitted else []),
        *([true()] if None in lost else []),
        *(schema.tables.names_features(modality) for modality in MODALITIES if modality in lost),
        *(each.concerns(schema.tables.ledger) for each in damaged if each.concerns_rows(*rows)),
    ]
    return or_(*conditions) if conditions else None


def _reread_steps(schema: SyncSchema, reread: ColumnElement[bool] | None) -> Iterator[Step]:
    """Let the next run read these assets, whatever has become of them at the source."""
    if reread is not None:
        yield update(schema.tables.ledger).where(reread).values(fingerprint="")
        yield delete(schema.tables.cursors)


# What somebody has taken away from tables that are there.


def _damages(schema: SyncSchema, definitions: Iterable[Any]) -> list[Damage]:
    vectors = (schema.vector_table(entry) for entry in schema.catalogue.values())
    tables = [*schema.tables.metadata.tables.values(), *schema.features.values(), *vectors]
    mapped = {schema.features[modality].name: schema.mapping.columns(modality) for modality in MODALITIES}
    return damages_in(definitions, tables, mapped)


def _showing(schema: SyncSchema, table: Table) -> Iterator[Modality]:
    """The modalities whose views show a table."""
    rows = _tables_of_rows(schema)
    if table.name in rows:
        of = rows[table.name]
        yield from MODALITIES if of is None else [of]


def _mending_steps(
    connection: Connection, schema: SyncSchema, damaged: Iterable[Damage], reshaped: Collection[Modality]
) -> Iterator[Step]:
    """Give it back, after the views that would be in the way; these are made anew. Raises `ConfigurationError` where
    somebody has built upon one of them."""
    for modality in sorted(reshaped):
        for layer in _layers_of(schema.catalogue, modality):
            check_alone(driver_of(connection), schema.name, layer)
            yield statement("DROP VIEW IF EXISTS {}", sql.Identifier(schema.name, layer.view))
    for damage in damaged:
        yield from damage.steps()


# The named vectors that arrive: a table, and what shows it, for each dimension.


def ensure_vectors(
    schema: SyncSchema,
    storages: Mapping[VectorKey, VectorStorage],
    begin: Callable[[], AbstractContextManager[Connection]],
) -> None:
    """Make table, view and function for the named vectors that are new, and for new dimensions of old ones, in a
    transaction that `begin` begins."""

    def is_taken(key: VectorKey) -> bool:
        return key in schema.catalogue and schema.catalogue[key].state != "retired"

    # By name; of one name the dimension that comes first stays first.
    missing = sorted((key for key in storages if not is_taken(key)), key=lambda key: key[:2])
    if not missing:
        return
    before = schema.catalogue
    try:
        with begin() as connection:
            lock_ddl(connection, schema.name)
            schema.read_catalogue(connection)
            (functions,) = answers(connection, stored_functions(schema.name))
            run(connection, [*_shared_functions(connection, schema, functions)])
            for key in missing:
                if not is_taken(key):
                    run(connection, _generation_steps(connection, schema, key, storages[key]))
                    schema.read_catalogue(connection)
    except BaseException:
        schema.catalogue = before  # what was rolled back is not there
        raise


def _generation_steps(connection: Connection, schema: SyncSchema, key: VectorKey, storage: VectorStorage) -> list[Step]:
    """What makes a generation, or begins a retired one anew as the newest; with several of a name, each gets a view and
    a function of its own."""

    def exists(names: frozenset[str]) -> bool:
        return names_exist(connection, schema.name, names)

    steps: list[Step] = []
    catalogue, name = schema.catalogue, key[:2]
    earlier = catalogue.generations(*name)
    if key in catalogue:
        begun = replace(catalogue[key], state="filling", generation=earlier[-1].generation + 1)
        entry = replace(begun, storage=schema.desired_storage(begun))
        steps.append(statement("TRUNCATE {}", sql.Identifier(schema.name, entry.table)))
        steps.append(statement("DROP INDEX IF EXISTS {}", sql.Identifier(schema.name, entry.index)))
    else:
        entry = catalogue.new_entry(*name, schema.mapping.table(key[0]), storage, exists)
        table = vector_table(schema.name, entry.table, storage, schema.database.extension_schema)
        steps += table_steps([table])
        for other in earlier[-1:]:
            steps += _protection_steps(connection, schema, other.table, table)
    catalogue = catalogue.changed(entry)
    for other in catalogue.generations(*name) if len(catalogue.generations(*name)) > 1 else ():
        if not other.own:
            catalogue = catalogue.changed(catalogue.with_own_layer(other, exists))
    return [*steps, *refresh_steps(connection, schema, catalogue, catalogue.generations(*name))]


# What shows the generations, and what the catalogue says of them.


def _shared_functions(connection: Connection, schema: SyncSchema, stored: Sequence[Any]) -> Iterator[Step]:
    """What makes the functions that belong to no named vector, and that the others call."""
    return functions_steps(connection, schema.name, schema.database.extension_schema, schema.mapping, stored)


def refresh_steps(
    connection: Connection,
    schema: SyncSchema,
    catalogue: Catalogue,
    generations: Sequence[VectorEntry],
    changes: Mapping[Modality, TableChange] = _UNCHANGED,
    reshaped: Collection[Modality] = (),
    present: _Present | None = None,
) -> Iterator[Step]:
    """What brings these generations' entries, views and functions to what the catalogue is to say of them, after these
    changes of the tables; of `reshaped` modalities the views have gone. `present` is what there is of these, where that
    has been looked up."""
    described: list[Described] = []
    anew: list[str] = []
    extension = schema.database.extension_schema
    all_shown = [each for entry in generations for each in _shown(schema, catalogue, entry)]
    present = present or _present(connection, schema.name, generations, [shown.layer for shown, _ in all_shown])
    cleared = {layer for modality in reshaped for layer in _layers_of(catalogue, modality)}
    unchanged = {
        shown.layer
        for shown, recorded in all_shown
        if _ingredients_of(recorded) == layer_digest(shown, schema.name, extension)
        and present.layers.has(driver_of(connection), schema.name, shown, _seal_of(recorded))
    } - cleared
    for entry in generations:
        change = changes.get(entry.modality)
        digests: dict[Layer, str] = {}
        # The own layer first: the plain function asks it.
        for shown, recorded in reversed([*_shown(schema, catalogue, entry)]):
            digests[shown.layer] = recorded
            if shown.layer not in unchanged:
                digests[shown.layer] = layer_digest(shown, schema.name, extension)
                anew.append(shown.layer.view)
                is_new = not recorded and shown.layer == entry.own_layer
                yield from layer_steps(
                    connection,
                    schema.name,
                    extension,
                    shown,
                    renamed=change.columns.renamed if change else {},
                    is_cleared=entry.modality in reshaped or (change is not None and change.columns.touches_views),
                    model=entry.plain_layer if is_new else None,
                )
        described += vector_descriptions(schema, entry, digests)
        own = entry.own_layer and digests[entry.own_layer]
        refreshed = replace(entry, sql_digest=digests.get(entry.plain_layer, ""), own_digest=own or "")
        sealed = _sealed(schema.name, refreshed, digests.keys() - unchanged)
        if entry.key not in schema.catalogue:
            yield entry_insertion(schema.tables, refreshed, sealed)
        elif sealed or refreshed != schema.catalogue[entry.key]:
            yield entry_update(schema.tables, refreshed, sealed)
    yield from comment_steps(schema.name, described, present.comments, anew)


_SEALED: Final = "."
"""In the catalogue, between what a layer was made of and what Postgres said of it then."""


def _ingredients_of(recorded: str) -> str:
    return recorded.partition(_SEALED)[0]


def _seal_of(recorded: str) -> str:
    return recorded.partition(_SEALED)[2]


def _sealed(schema: str, entry: VectorEntry, layers: Collection[Layer]) -> dict[str, ColumnElement[str]]:
    """By column, the digests of layers that have just been made, with how Postgres says that they are."""
    by_column = {"sql_digest": entry.plain_layer, "own_digest": entry.own_layer}
    return {
        name: literal(getattr(entry, name) + _SEALED).concat(seal_of(schema, layer))
        for name, layer in by_column.items()
        if layer is not None and layer in layers
    }


def rerouting_steps(
    connection: Connection, schema: SyncSchema, catalogue: Catalogue, current: VectorEntry
) -> Iterator[Step]:
    """What lets the plain function of a named vector know only the generations that the catalogue is to have."""
    shown = _plainly_shown(schema, catalogue, current)
    yield from function_steps(connection, schema.name, schema.database.extension_schema, shown)
    yield entry_update(schema.tables, replace(current, sql_digest=""))  # whoever drops a table knows no mapping


def _shown(schema: SyncSchema, catalogue: Catalogue, entry: VectorEntry) -> Iterator[tuple[Shown, str]]:
    """What shows a generation, each with the digest of what it was last made of."""
    if entry.state == "current":
        yield _plainly_shown(schema, catalogue, entry), entry.sql_digest
    if entry.own_layer:
        yield Shown(entry.own_layer, entry, schema.mapping.columns(entry.modality), {}), entry.own_digest


def _plainly_shown(schema: SyncSchema, catalogue: Catalogue, entry: VectorEntry) -> Shown:
    """A current generation as the plain view and function show it, which can ask the views of all generations.

    By dimension: nothing stands for sparse vectors, which have one dimension and are asked for in another way."""
    routes: dict[int, tuple[str, VectorStorage]] = {
        other.storage.dimension: (other.own_layer.view, other.storage)
        for other in catalogue.generations(entry.modality, entry.vector_name)
        if other.own_layer and "sparsevec" not in (other.storage.column_type, entry.storage.column_type)
    }
    return Shown(entry.plain_layer, entry, schema.mapping.columns(entry.modality), routes)
