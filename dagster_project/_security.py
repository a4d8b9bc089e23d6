"""An asset check that says who else may do something with what a sync has stored."""

from os import environ

import dagster as dg

from vectorferry import SyncSettings, check_security
from vectorferry.connector.plugin import VectorferryError


def security_check(settings: SyncSettings, source: dg.AssetKey, resource_key: str) -> dg.AssetChecksDefinition:
    """The check `security`, on the sync's source: no sync runs it, whoever wants it executes or schedules it."""

    @dg.asset_check(
        asset=source,
        name="security",
        description="Owners, grants, code of others and modes of directories, as `vectorferry verify --security` says.",
        required_resource_keys={resource_key},
    )
    def security(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        try:
            current = getattr(context.resources, resource_key).settings(settings)
            report = check_security(current, environ=environ)
        except VectorferryError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        return dg.AssetCheckResult(
            passed=report.exit_code == 0,
            severity=dg.AssetCheckSeverity.WARN,
            description=str(report),
            metadata={"findings": dg.JsonMetadataValue(report.to_dict()["destinations"])},
        )

    return security
