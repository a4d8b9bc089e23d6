"""An asset check that says who else may do something with what a sync has stored."""

from os import environ

import dagster as dg

from vectorferry import SyncSettings, check_security
from vectorferry.connector.plugin import VectorferryError
from vectorferry.dagster._assets import source_key
from vectorferry.dagster._resources import resource_keys, settings_from


def security_check(settings: SyncSettings) -> dg.AssetChecksDefinition:
    """The check `security`, on the sync's source: no sync runs it, whoever wants it executes or schedules it."""

    @dg.asset_check(
        asset=source_key(settings),
        name="security",
        description="Owners, grants, code of others and modes of directories, as `vectorferry verify --security` says.",
        required_resource_keys=set(resource_keys(settings)),
    )
    def security(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        try:
            report = check_security(settings_from(context.resources, settings), environ=environ)
        except VectorferryError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        return dg.AssetCheckResult(
            passed=report.exit_code == 0,
            severity=dg.AssetCheckSeverity.WARN,
            description=str(report),
            metadata={"findings": dg.JsonMetadataValue(report.to_dict()["destinations"])},
        )

    return security
