"""Every error message of ours is in docs/troubleshooting.md, under what to do about it."""

from __future__ import annotations

from typing import Final

from tests.documents.messages import GUIDE, anchors, messages, unread_places, with_lists
from tests.documents.reading import read

PASSED_ON: Final = {
    "connector/_config/_load.py: _parse",
    "connector/_config/_load.py: parse_part",
    "connector/_config/_load.py: parse_settings",
    "connector/_config/_resolve.py: resolve_part",
    "connector/_engine/_calls.py: run",
    "connector/_engine/_opening.py: naming_option",
    "connector/_engine/sync/_lane.py: locked",
    "connector/_engine/sync/_prune.py: _check",
    "connector/_engine/sync/_related.py: replace",
    "connector/_model/_vectors.py: _unfit",
    "connector/_protocols/_capabilities.py: missing",
    "connector/cli/_search.py: read_vector",
    "connector/http/_answer.py: _refuse",
    "connector/http/_pace.py: check",
    "connector/sources/_service.py: collections",
    "dagster_project/_checks.py: check_step",
    "dagster_project/_component.py: _translation",
    "dagster_project/_component.py: _without_quotes",
    "dagster_project/_failures.py: raise_for_collection",
    "dagster_project/_failures.py: raise_for_exit_code",
    "dagster_project/_failures.py: raise_for_run",
    "dagster_project/_run.py: _finish_partition",
    "dagster_project/_submit.py: _own",
    "destinations/_postgres/_ddl.py: explained_by",
    "destinations/_postgres/_errors.py: _no_connection",
    "destinations/_postgres/_errors.py: translate",
    "destinations/pgvector/_destination.py: rebuild_indexes",
    "destinations/pgvector/_prepare.py: prepare",
    "destinations/pinecone/_layout.py: _check_metric",
    "destinations/pinecone/_manifest.py: prepare",
}
"""Where an error only passes on what another place, a service or Postgres has said."""


def test_every_message_is_in_the_guide() -> None:
    listed = patterns(read(GUIDE))
    missing = [line for line in patterns(with_lists(read(GUIDE))) if line not in listed]
    assert missing == [], "run `python -m tests.documents.messages`, and look at the difference"


def patterns(guide: str) -> list[str]:
    """Of the listed messages, without their anchors."""
    return [line.partition("</a>")[2] for line in guide.splitlines() if line.startswith('- <a id="')]


def test_every_place_that_raises_is_read_or_known_to_pass_a_message_on() -> None:
    assert set(unread_places()) - PASSED_ON == set()


def test_each_message_has_an_anchor_of_its_own() -> None:
    names = anchors(messages())
    assert len(names) > 200
    assert len(set(names.values())) == len(names)
