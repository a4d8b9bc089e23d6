"""Media handed to the source's service from Dagster: an asset whose run configuration has the URLs.

Dagster reads the annotations of steps as they stand, so this file does not postpone their evaluation.
"""

from collections.abc import Iterator, Mapping, Sequence
from os import environ
from typing import Any, Final

import dagster as dg
from pydantic import ValidationError

from vectorferry import SyncSettings, VectorferryError, submit
from vectorferry.connector._engine import Submissions
from vectorferry.connector.plugin import ConfigurationError, Settings, SourceSettings, SubmitOptions
from vectorferry.dagster._targets import NOT_IN_KEYS

SUBMIT_CONFIG: Final[Mapping[str, dg.Field]] = {
    "urls": dg.Field([str], description="Public addresses of media files (http or https), which the service fetches."),
    "metadata": dg.Field(dict, default_value={}, description="What goes with each asset, as keys and values."),
    "settings": dg.Field(
        dict,
        is_required=False,
        description="What the service is to make of the files, as `vectorferry submit --settings` takes it.",
    ),
    "again": dg.Field(bool, default_value=False, description="Submit also what was submitted before."),
    "wait": dg.Field(bool, default_value=False, description="Wait until the service has made all of them ready."),
    "sync": dg.Field(
        bool,
        default_value=False,
        description="With wait: bring what is ready, and nothing else, into the destinations.",
    ),
    "timeout": dg.Field(float, default_value=3600.0, description="Seconds to wait at most for each of them."),
}
"""What can be said of a single run."""


def build_submit_asset(
    settings: SyncSettings,
    collection: str | None = None,
    *,
    key: dg.AssetKey | Sequence[str] | None = None,
    resource_key: str = "vectorferry",
) -> dg.AssetsDefinition:
    """An asset that hands the URLs of its run configuration to the source's service, as `vectorferry submit` does.

    Submitting the same again takes up what was submitted. What has failed fails the step, once everything was tried;
    the others stay submitted. Addresses are stored in the run's configuration as they are, signatures included; what
    the asset says of them ends where these begin.

    Args:
        settings: the sync, as `load_settings` reads it.
        collection: where the media go, by id or by name; None: the only one that the source has.
        key: of the asset; ``[sync, "submit", collection]`` where nothing is said.
        resource_key: of the `VectorferryResource`.
    """
    last = NOT_IN_KEYS.sub("_", (collection or settings.source.type).lower())
    asset_key = dg.AssetKey.from_coercible(key if key is not None else [settings.name, "submit", last])

    @dg.multi_asset(
        name="__".join(NOT_IN_KEYS.sub("_", part.lower()) for part in asset_key.path),
        specs=[
            dg.AssetSpec(
                asset_key,
                description=f"Media that were submitted to the {settings.source.type} source"
                f"{f' for {collection}' if collection else ''}. Launch it with URLs in its configuration.",
                group_name=settings.name,
                kinds={"python", settings.source.type},
            )
        ],
        pool=settings.source.type,
        config_schema=dict(SUBMIT_CONFIG),
        required_resource_keys={resource_key},
    )
    def submitted(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        config = context.op_execution_context.op_config
        try:
            current = getattr(context.resources, resource_key).settings(settings)
            submissions = submit(
                current,
                config["urls"],
                SubmitOptions(config["metadata"], _own(current.source, config.get("settings")), config["again"]),
                collection=collection,
                wait=config["wait"],
                sync=config["sync"],
                timeout=config["timeout"],
                environ=environ,
                progress=lambda each: context.log.info(f"{_shown(each.url)}: {each.state.value}"),
            )
        except VectorferryError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        metadata = _metadata(submissions)
        if submissions.exit_code:
            raise dg.Failure(_why(submissions), metadata=metadata, allow_retries=False)
        yield dg.MaterializeResult(asset_key=asset_key, metadata=metadata)

    return submitted


def _own(source: SourceSettings, written: Mapping[str, Any] | None) -> Settings | None:
    if not written:
        return None
    if source.submit_settings is None:
        raise ConfigurationError(f"settings: a source of type {source.type} has none for what is submitted")
    try:
        return source.submit_settings.model_validate(written)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        lines = [f"settings.{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems]
        raise ConfigurationError("\n".join(lines)) from None


def _metadata(submissions: Submissions) -> dict[str, Any]:
    files: Sequence[Mapping[str, Any]] = [each.to_dict() for each in submissions.submitted]
    rows = [{name: "" if value is None else str(value) for name, value in row.items()} for row in files]
    synced = {"synced_assets": len(submissions.ready)} if submissions.summary else {}
    return {
        "collection": submissions.collection,
        "submitted": len(rows),
        "ready": len(submissions.ready),
        "failed": sum(bool(each.exit_code) for each in submissions.submitted),
        **synced,
        "files": dg.MetadataValue.table([dg.TableRecord(row) for row in rows]),
    }


def _why(submissions: Submissions) -> str:
    failures = [each.to_dict() for each in submissions.submitted if each.exit_code]
    lines = [f"{each['url']}: {each['error'] or each['state'] or 'not submitted'}" for each in failures]
    if submissions.sync_error:
        lines.append(f"not synced: {submissions.sync_error}")
    elif submissions.summary and submissions.summary.exit_code:
        lines.append(f"the sync of what is ready ended with exit code {submissions.summary.exit_code}")
    return "\n".join(lines)


def _shown(url: str) -> str:
    """Up to the signature, where there is one."""
    return url.partition("#")[0].partition("?")[0]
