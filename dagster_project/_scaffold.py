"""What ``dg scaffold defs`` writes: a sync that loads and runs as it is, and says what else can be said."""

from __future__ import annotations

import re
from typing import Any, Final

import dagster as dg

TEMPLATE: Final = """\
# One sync. As it stands it reads sample media from a sandbox that is started for the run, into an embedded Postgres
# under .vectorferry/: `dg launch --assets {name}/video --partition quickstart`, or `vectorferry sync -c` this.
# ${NAME} is read from the environment when a run starts; keys never have to stand here.
type: {type}

attributes:
  name: {name}  # the first part of asset keys, and the Postgres schema
  source:
    type: sandbox  # yours: `type: mixpeek` with `api_key: ${MIXPEEK_API_KEY}`, or twelvelabs with ${TWELVELABS_API_KEY}
    collections: [quickstart]  # each is a partition; without this line: all that the source has
  destinations:
    - type: pgvector
      # url: ${DATABASE_URL}  # without it: the embedded Postgres
    # - type: pinecone  # the same vectors for serving, an asset for each named vector
    #   api_key: ${PINECONE_API_KEY}
    #   vectors: [multimodal-v1]

  # schedule: {cron: "*/15 * * * *", timezone: Europe/Berlin, per_run: all}
  # freshness: {fail_after_hours: 24, warn_after_hours: 12}
  # sensors: [changes, outside]  # sync what has changed at the source; record syncs that ran outside Dagster
  # embedding_map: true  # a map of each table's vectors, as an image; needs vectorferry[map]

  # Asset checks; those that block run with each sync, the others with the job {name}_check:
  # checks: {quarantine: true, ledger: {sample: 1000, blocking: true}, recall: {at_least: 0.95, severity: warn}}

  # How the assets look. `target.name` is the table's or the index's; `spec` the asset without this:
  # translation:
  #   key_prefix: raw
  #   group_name: search
  #   owners: ["team:search"]
  #   tags: {tier: gold}
  #   automation_condition: "{{ dg.AutomationCondition.eager() }}"

  # The step that fills them; its pool is the source's type, so that one limit holds for a service:
  # op: {tags: {team: search}, pool: media_api, retries: 5, backfill_policy: {type: single_run}}

  # Refuse to delete more than this share of a collection's assets in one run:
  # deletes: {mode: prune, max_share: 0.2}
"""


class SyncScaffolder(dg.Scaffolder[Any]):
    """Writes `TEMPLATE`; the sync is named after its folder."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write ``defs.yaml``, or for the format ``python`` what Dagster writes."""
        if request.scaffold_format == "python":
            dg.scaffold_component(request)
            return
        path = request.target_path if request.append else request.target_path / "defs.yaml"
        folder = request.target_path.parent if request.append else request.target_path
        text = TEMPLATE.replace("{name}", sync_name(folder.name)).replace("{type}", request.type_name)
        with path.open("a" if request.append else "w", encoding="utf-8") as file:
            file.write("---\n" + text if request.append else text)


def sync_name(folder: str) -> str:
    """What a sync in this folder may be called."""
    name = re.sub(r"[^a-z0-9_]+", "_", folder.lower()).strip("_")[:48]
    return name if name[:1].isalpha() else f"sync_{name}"[:48].rstrip("_")
