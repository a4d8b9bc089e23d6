"""Checks who else may do something with what a sync has stored."""

from __future__ import annotations

from collections.abc import Mapping
from os import environ as process_environ

from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine._opening import opened
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._reports._verification import SecurityReport


def run_security_check(settings: SyncSettings, *, environ: Mapping[str, str] = process_environ) -> SecurityReport:
    """Ask every destination that can tell. The source is not asked, and nothing is written.

    Raises `NotSupportedError` when no destination can, and what these raise.
    """
    with opened(settings, needs=Capability.SECURITY, environ=environ) as destinations:
        return SecurityReport(settings.name, {each.name: each.security() for each in destinations})
