"""The described entities: the lecturers with their pictures, a few dogs, and a collection without any."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from vectorferry.connector.sandbox._subjects import LESSONS
from vectorferry.connector.sandbox._twelvelabs._account import Account
from vectorferry.connector.sandbox._twelvelabs._things import Entity, EntityCollection, Upload, object_id

__all__ = ["describe_entities"]

_BEGUN = datetime(2026, 5, 4, 9, 30, 0, 250_000, UTC)
_DOGS = (("Bolt", "a border collie"), ("Pixel", "an Australian shepherd"), ("Nana", "an old terrier"))


def describe_entities(account: Account) -> None:
    """Put them into an account, with the pictures that they are known by."""
    people = ((lesson.author, f"Teaches: {lesson.title}") for lesson in LESSONS)
    _fill(account, _collection("people", "Who lectures", 0), dict(people).items())
    _fill(account, _collection("dogs", "", 1), _DOGS)
    _fill(account, _collection("empty", "Nobody yet", 2), ())


def _collection(name: str, description: str, days: int) -> EntityCollection:
    made = _BEGUN + timedelta(days=days)
    return EntityCollection(object_id("entities", name), name, made, made, description)


def _fill(account: Account, collection: EntityCollection, entities: Iterable[tuple[str, str]]) -> None:
    account.entity_collections[collection.collection_id] = collection
    for number, (name, description) in enumerate(entities):
        made = collection.created_at + timedelta(minutes=number + 1)
        picture = Upload(object_id("picture", name), f"{_slug(name)}.jpg", "image/jpeg", made, size=48_000)
        account.uploads[picture.asset_id] = picture
        entity = Entity(object_id("entity", name), collection.collection_id, name, made, made, description)
        entity.metadata = {"number": number, "kind": collection.name}
        entity.asset_ids = (picture.asset_id,)
        collection.entities[entity.entity_id] = entity


def _slug(name: str) -> str:
    return "-".join(name.lower().replace(".", "").split())
