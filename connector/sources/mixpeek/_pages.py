"""One page of Mixpeek's page/page_size lists, whose `next_page` is never followed, and its other small answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vectorferry.connector._json import parse_json
from vectorferry.connector.sources._pages import Page, count_in

__all__ = ["pagination_in", "read_organization", "read_page"]


def read_page(body: bytes) -> Page:
    """A page from an answer. Raises `ValueError` when there are no `results`."""
    answer = parse_json(body)
    if not isinstance(answer, dict) or not isinstance(answer.get("results"), list):
        raise ValueError("no list of results")
    pagination = pagination_in(answer)
    return Page(answer["results"], count_in(pagination, "total"), count_in(pagination, "total_pages"))


def read_organization(body: bytes) -> str:
    """The organization's id, or what stands for it; empty when there is none. What else the answer holds, users and
    their keys, is left where it is. Raises `ValueError` for what is no object."""
    answer = parse_json(body)
    if not isinstance(answer, dict):
        raise ValueError("no organization")
    named = (answer.get(name) for name in ("organization_id", "internal_id", "organization_name"))
    return next((text for text in named if isinstance(text, str) and text), "")


def pagination_in(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pagination object, empty when there is none. Raises `ValueError` for anything else in its place."""
    pagination = answer.get("pagination")
    if not isinstance(pagination, dict | None):
        raise ValueError("pagination is not an object")
    return pagination or {}
