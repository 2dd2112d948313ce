"""Whatever Fogbell needs to run may be used, changed and shipped by anyone: no copyleft reaches the image."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent

PERMISSIVE = {"MIT", "MIT-0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "ISC", "Apache-2.0", "PSF-2.0", "Unlicense", "Zlib"}
"""SPDX identifiers, and "BSD" for packages that do not say which one; each variant of it is permissive."""

SPOKEN = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "PSFL": "PSF-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""Other ways in which packages say the same."""

ALLOWED = {"certifi": "MPL-2.0, which reaches no further than its own file: a list of authorities, shipped unchanged"}
"""Packages that are not permissive, or do not say it in a way that can be read, and why they may be used all the same."""


def run_time_packages(requirements: list[str]) -> set[str]:
    """Return the names of all packages that these requirements bring, as installed here."""
    found: set[tuple[str, frozenset[str]]] = set()
    wanted = [Requirement(line) for line in requirements]
    while wanted:
        requirement = wanted.pop()
        extras = frozenset(requirement.extras)
        here = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if here and (requirement.name, extras) not in found:
            found.add((requirement.name, extras))
            wanted += _needs(requirement.name, extras)
    return {canonicalize_name(name) for name, _ in found}


def _needs(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    for line in distribution(name).requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            requirement.marker = None
            yield requirement


def licences(package: Distribution) -> list[str]:
    """Return the licences of a package, all of which count; one that may be chosen among others is written with OR."""
    metadata = package.metadata
    said = metadata["License-Expression"] or metadata["License"] or ""
    if said and "\n" not in said:
        return [SPOKEN.get(part, part) for part in said.split(" AND ")]
    classified = (line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if line.startswith("License :: "))
    return [SPOKEN.get(name, name) for name in classified if name != "OSI Approved"]


def is_permissive(package: Distribution) -> bool:
    found = licences(package)
    return bool(found) and all(set(re.split(r" OR ", one.strip("()"))) & PERMISSIVE for one in found)


def test_what_fogbell_needs_to_run_is_permissive() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    packages = run_time_packages(project["dependencies"])
    assert {"aiohttp", "requests", "yarl"} <= packages
    refused = {name: licences(distribution(name)) for name in sorted(packages - ALLOWED.keys()) if not is_permissive(distribution(name))}
    assert refused == {}
    assert ALLOWED.keys() <= packages, "an exception that is no longer needed"


@pytest.mark.parametrize(
    ("metadata", "permissive"),
    [
        ("License-Expression: GPL-3.0-only", False),
        ("License-Expression: MIT AND LGPL-2.1-or-later", False),
        ("License-Expression: MIT OR GPL-2.0-only", True),
        ("License: AGPL-3.0", False),
        ("License: GPL\nClassifier: License :: OSI Approved :: MIT License", False),
        ("Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)", False),
        ("Classifier: License :: OSI Approved :: MIT License\nClassifier: License :: Other/Proprietary License", False),
        ("Classifier: License :: OSI Approved\nClassifier: License :: OSI Approved :: BSD License", True),
        ("Summary: says nothing", False),
    ],
)
def test_a_licence_is_judged_by_what_the_package_says(metadata: str, permissive: bool, tmp_path: Path) -> None:  # noqa: FBT001 - expected
    (tmp_path / "METADATA").write_text(f"Metadata-Version: 2.4\nName: made-up\nVersion: 1\n{metadata}\n", encoding="utf-8")
    assert is_permissive(PathDistribution(tmp_path)) is permissive
