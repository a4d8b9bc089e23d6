"""What others may do with what is ours: looked up in the catalogue, which everybody may read, for `verify --security`.

Commands refuse what they meet of others on their way (`_relations`). This looks at all of it, met or not, and at rights
that are wider than anybody needs: nobody who only asks needs more than USAGE and SELECT.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, LiteralString

from psycopg import sql
from sqlalchemy import Connection, Row, TextClause, text

from vectorferry.connector.plugin import DestinationError, SecurityCheck, SecurityFinding
from vectorferry.destinations._postgres._ddl import fixed, joined, statement
from vectorferry.destinations._postgres._server import PostgresServer
from vectorferry.destinations._postgres._session import READ_ONLY

# Whoever looks may be one who only reads: then it is the schema's owner who loads.
_LOADER: Final = text("""
SELECT current_database() AS database, CASE WHEN has_schema_privilege(n.oid, 'CREATE')
    OR EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND pg_has_role(c.relowner, 'USAGE'))
    THEN current_user ELSE pg_get_userbyid(n.nspowner) END AS name
FROM pg_namespace n WHERE n.nspname = :schema
""")

_ROLES: Final = """
WITH RECURSIVE own(role) AS (
    SELECT oid FROM pg_roles WHERE rolname = :loader
    UNION SELECT m.roleid FROM pg_auth_members m JOIN own ON m.member = own.role
),
trusted(role) AS (SELECT role FROM own UNION SELECT oid FROM pg_roles WHERE rolsuper),
schema AS (SELECT * FROM pg_namespace WHERE nspname = :schema),
relations AS (
    SELECT c.*, format('%I.%I', s.nspname, c.relname) AS name,
        CASE c.relkind WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'table' END AS kind
    FROM pg_class c JOIN schema s ON s.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
)
"""


def _looked_up(query: LiteralString) -> TextClause:
    return text(_ROLES + query)


_OWNERS: Final = _looked_up("""
SELECT subject, pg_get_userbyid(owner) AS owner FROM (
    SELECT 'schema ' || quote_ident(nspname), nspowner FROM schema
    UNION ALL SELECT kind || ' ' || name, relowner FROM relations
    UNION ALL SELECT 'function ' || CAST(CAST(p.oid AS regprocedure) AS text), p.proowner
    FROM pg_proc p JOIN schema s ON s.oid = p.pronamespace
) things (subject, owner) WHERE owner NOT IN (SELECT role FROM trusted) ORDER BY 1
""")
_GRANTS: Final = _looked_up("""
SELECT subject, kind, name, attribute, r.rolname AS role, array_agg(DISTINCT a.privilege_type) AS privileges,
    bool_or(a.is_grantable) AS is_grantable
FROM (
    SELECT 'schema ' || quote_ident(nspname), 'SCHEMA', quote_ident(nspname), NULL, nspowner, nspacl FROM schema
    UNION ALL SELECT kind || ' ' || name, CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, name, NULL,
        relowner, relacl FROM relations
    UNION ALL SELECT format('column %s.%I', c.name, t.attname), 'TABLE', c.name, t.attname, c.relowner, t.attacl
    FROM relations c JOIN pg_attribute t ON t.attrelid = c.oid WHERE NOT t.attisdropped
) things (subject, kind, name, attribute, owner, acl)
CROSS JOIN aclexplode(acl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE a.grantee <> owner AND a.grantee NOT IN (SELECT role FROM trusted)
AND (a.grantee = 0 OR a.is_grantable OR a.privilege_type NOT IN ('SELECT', 'USAGE'))
GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 5 NULLS FIRST
""")
_DEFAULTS: Final = _looked_up("""
SELECT pg_get_userbyid(d.defaclrole) AS maker, n.nspname AS schema, r.rolname AS role,
    array_agg(DISTINCT a.privilege_type) AS privileges
FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
CROSS JOIN aclexplode(d.defaclacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE d.defaclobjtype = 'r' AND d.defaclrole IN (SELECT role FROM own) AND (n.oid IS NULL OR n.nspname = :schema)
AND a.grantee NOT IN (SELECT role FROM trusted)
AND (a.grantee = 0 OR a.is_grantable OR a.privilege_type NOT IN ('SELECT', 'USAGE'))
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
""")
_CODE: Final = _looked_up("""
SELECT 'trigger' AS kind, t.tgname AS name, c.name AS relation,
    'calls a function of ' || pg_get_userbyid(p.proowner) || ' with the rights of whoever writes' AS problem
FROM relations c JOIN pg_trigger t ON t.tgrelid = c.oid JOIN pg_proc p ON p.oid = t.tgfoid
WHERE NOT t.tgisinternal AND p.proowner NOT IN (SELECT role FROM trusted)
UNION ALL
SELECT 'rule', r.rulename, c.name, 'makes something else of what is written'
FROM relations c JOIN pg_rewrite r ON r.ev_class = c.oid WHERE r.rulename <> '_RETURN' ORDER BY 3, 2
""")
# The database's owner may make things in its `public`, and there is little that anybody can do about that.
_EXTENSION: Final = _looked_up("""
SELECT n.nspname AS name, r.rolname AS role, a.grantee = n.nspowner AS is_owner
FROM pg_namespace n CROSS JOIN aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE n.oid = (SELECT extnamespace FROM pg_extension WHERE extname = 'vector')
AND a.privilege_type = 'CREATE' AND a.grantee NOT IN (
    SELECT role FROM trusted UNION SELECT datdba FROM pg_database WHERE datname = current_database()
    UNION SELECT oid FROM pg_roles WHERE rolname = 'pg_database_owner'
) ORDER BY 2 NULLS FIRST
""")
_SUPERUSER: Final = text("SELECT rolsuper FROM pg_roles WHERE rolname = :loader")


def check_security(server: PostgresServer[Any], schema: str) -> SecurityCheck:
    """What others may do in this schema, in that of pgvector, and with the files of an embedded server. Needs no right
    in the schema. Raises `DestinationError` when it is not there."""
    if not server.has_never_run:
        if exposed := server.exposure():
            return SecurityCheck("", exposed)  # such a server is not started
        with server.translated(), server.database.plain_transaction(READ_ONLY) as connection:
            if (loader := connection.execute(_LOADER, {"schema": schema}).one_or_none()) is not None:
                return SecurityCheck(loader.name, _findings(connection, schema, loader, is_embedded=server.is_embedded))
    raise DestinationError(
        f"nothing has been synced into schema {schema} at {server.location} yet; run `vectorferry sync` first"
    )


def _findings(connection: Connection, schema: str, loader: Row[Any], *, is_embedded: bool) -> list[SecurityFinding]:
    values = {"loader": loader.name, "schema": schema}
    return [
        # Nobody else comes to an embedded server, where we are its superuser.
        *(() if is_embedded else _superuser(connection, loader)),
        *(_foreign(row, loader.name) for row in connection.execute(_OWNERS, values)),
        *(_granted(row) for row in connection.execute(_GRANTS, values)),
        *(_granted_by_default(row) for row in connection.execute(_DEFAULTS, values)),
        *(_code(row) for row in connection.execute(_CODE, values)),
        *(_beside_pgvector(row) for row in connection.execute(_EXTENSION, values)),
    ]


def _superuser(connection: Connection, loader: Row[Any]) -> Iterator[SecurityFinding]:
    if connection.execute(_SUPERUSER, {"loader": loader.name}).scalar():
        yield SecurityFinding(
            f"role {loader.name}",
            "is a superuser: whatever it could be made to run may do anything, on the server's machine too",
            "Sync as a role of its own; it needs no more than: "
            + statement("GRANT CREATE, TEMPORARY ON DATABASE {} TO …;", loader.database),
        )


def _foreign(row: Row[Any], loader: str) -> SecurityFinding:
    return SecurityFinding(
        row.subject,
        f"belongs to {row.owner}, who may change it at any time",
        f"Have it dropped or moved. If {row.owner} is to be trusted: {statement('GRANT {} TO {};', row.owner, loader)}",
    )


def _granted(row: Row[Any]) -> SecurityFinding:
    passes_on = ", and may pass it on" if row.is_grantable else ""
    privileges = [
        f"{name} ({sql.Identifier(row.attribute).as_string()})" if row.attribute else name for name in row.privileges
    ]
    revoke = statement(
        "REVOKE {} ON {} {} FROM {};", joined(map(fixed, privileges)), fixed(row.kind), fixed(row.name), _role(row)
    )
    return SecurityFinding(row.subject, f"{_who(row)} has {', '.join(row.privileges)}{passes_on}", revoke)


def _granted_by_default(row: Row[Any]) -> SecurityFinding:
    where = sql.SQL(" IN SCHEMA {}").format(sql.Identifier(row.schema)) if row.schema else sql.SQL("")
    revoke = statement(
        "ALTER DEFAULT PRIVILEGES FOR ROLE {}{} REVOKE {} ON TABLES FROM {};",
        row.maker,
        where,
        joined(map(fixed, row.privileges)),
        _role(row),
    )
    return SecurityFinding(
        f"tables that {row.maker} makes", f"{_who(row)} is given {', '.join(row.privileges)} by default", revoke
    )


def _code(row: Row[Any]) -> SecurityFinding:
    drop = statement("DROP {} {} ON {};", fixed(row.kind.upper()), row.name, fixed(row.relation))
    return SecurityFinding(f"{row.kind} {row.name} on {row.relation}", row.problem, drop)


def _beside_pgvector(row: Row[Any]) -> SecurityFinding:
    return SecurityFinding(
        f"schema {row.name}, which has pgvector,",
        f"{_who(row)} may make things in it: nothing of ours uses them, but whoever looks for names there does",
        statement("ALTER SCHEMA {} OWNER TO …;", row.name)
        if row.is_owner
        else statement("REVOKE CREATE ON SCHEMA {} FROM {};", row.name, _role(row)),
    )


def _who(row: Row[Any]) -> str:
    return "everybody" if row.role is None else str(row.role)


def _role(row: Row[Any]) -> sql.Composable:
    return sql.SQL("PUBLIC") if row.role is None else sql.Identifier(row.role)
