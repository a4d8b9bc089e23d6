"""What a user may say about columns."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from vectorferry.connector.plugin import Modality, SchemaMapping


def test_user_columns_come_after_the_defaults_and_may_replace_them() -> None:
    mapping = SchemaMapping.model_validate(
        {"text": {"columns": {"author": {"path": "metadata.author"}, "text": {"path": "body"}}}}
    )
    assert list(mapping.columns(Modality.TEXT)) == ["start_time", "end_time", "text", "created_at", "author"]
    assert mapping.columns(Modality.TEXT)["text"].path == "body"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"video": {"columns": {"metadata": {"path": "x"}, "ctid": {"path": "y"}}}}, "ctid, metadata: every table has"),
        ({"video": {"columns": {"a": {"path": "a..b"}}}}, "should be names with a dot between them"),
        ({"video": {"columns": {"Upper": {"path": "a"}}}}, "should be up to 55 lowercase letters"),
    ],
)
def test_names_that_would_clash_are_refused(said: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        SchemaMapping.model_validate(said)


def test_the_digest_follows_columns_and_nothing_else() -> None:
    plain = SchemaMapping().digest()
    assert SchemaMapping.model_validate({"video": {"vectors": {"v": {"metric": "l2"}}}}).digest() == plain
    assert SchemaMapping.model_validate({"video": {"columns": {"a": {"path": "b"}}}}).digest() != plain
