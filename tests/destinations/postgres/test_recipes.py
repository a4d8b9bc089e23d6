"""What the destinations do in Postgres has one recipe each: advisory locks, SQL that is not written out, the driver's
name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

DESTINATIONS = Path(__file__).parents[3] / "destinations"


def sources() -> Iterator[tuple[str, str]]:
    for path in sorted(DESTINATIONS.rglob("*.py")):
        yield path.relative_to(DESTINATIONS).as_posix(), path.read_text()


def is_written_out(template: ast.expr) -> bool:
    """A literal, a choice of two, or the name of a constant."""
    if isinstance(template, ast.IfExp):
        return is_written_out(template.body) and is_written_out(template.orelse)
    return isinstance(template, ast.Constant) or (isinstance(template, ast.Name) and template.id.isupper())


def unwritten_sql(source: str) -> list[str]:
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [
        ast.unparse(call) for call in calls if ast.unparse(call.func) == "sql.SQL" and not is_written_out(call.args[0])
    ]


def test_advisory_locks_are_taken_in_one_place() -> None:
    assert [name for name, source in sources() if "_advisory_" in source] == ["_postgres/_locks.py"]


def test_sql_that_is_not_written_out_passes_through_one_door() -> None:
    found = {name: calls for name, source in sources() if (calls := unwritten_sql(source))}
    assert found == {"_postgres/_ddl.py": ["sql.SQL(text)", "sql.SQL(template)"]}


def test_the_driver_has_one_name() -> None:
    named = [name for name, source in sources() if "= psycopg.Connection[" in source]
    assert named == ["_postgres/_database.py"]
