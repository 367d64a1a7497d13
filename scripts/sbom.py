# SPDX-License-Identifier: GPL-3.0-or-later
"""The bill of materials of a bundle, CycloneDX 1.6: every wheel and collection with its checksum, licence and needs."""

import datetime
import hashlib
import json
import sys
import tarfile
import uuid
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cyclonedx.exception.factory import InvalidSpdxLicenseException
from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.metadata import Metadata
from packaging.utils import canonicalize_name

__all__ = ["write_sbom"]

NAME = "sbom.cdx.json"
GALAXY = "openngt.guest_tools"
CLASSIFIER = "License :: OSI Approved :: "
# Of what packages write, and PyPI's classifiers say, these name one license and its version.
SPDX = {
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License, Version 2.0": "Apache-2.0",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "ISC license": "ISC",
    "MIT License": "MIT",
}


def write_sbom(stage: Path, version: str, seconds: int) -> None:
    """`sbom.cdx.json` in the bundle's folder, held to the schema; the same for the same files and time."""
    wheels = {path: metadata_of(path) for path in sorted((stage / "wheels").glob("*.whl"))}
    components = {path: wheel_component(path, about) for path, about in wheels.items()}
    manifests = {path: manifest_of(path) for path in sorted((stage / "collections").glob("*.tar.gz"))}
    collections = {path: collection_component(path, about) for path, about in manifests.items()}
    bom = Bom(components=[*components.values(), *collections.values()])
    digests = "".join(sorted(str(one.hashes) for one in bom.components))
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"openngt bundle {version} {digests}")
    bom.metadata.timestamp = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    # Without a reference of its own it would get one by chance, and no two bundles were the same.
    bom.metadata.component = Component(
        name="openngt-bundle", version=version, type=ComponentType.APPLICATION, bom_ref="openngt-bundle"
    )
    tops = [one for one in bom.components if one.name in ("openngt", GALAXY, "ansible-core")]
    bom.register_dependency(bom.metadata.component, tops)
    for path, about in wheels.items():
        bom.register_dependency(components[path], needed_by(about, components.values()))
    for path, manifest in manifests.items():
        needed = {*manifest["dependencies"], *(["openngt"] if collections[path].name == GALAXY else [])}
        bom.register_dependency(collections[path], [one for one in bom.components if one.name in needed])
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem:
        sys.exit(f"the bill of materials is not CycloneDX 1.6: {problem}")
    (stage / NAME).write_text(f"{text}\n", encoding="utf-8")


def metadata_of(wheel: Path) -> Metadata:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1]
        # Not judged: what is wrong with another project's metadata is no reason to leave it out.
        return Metadata.from_email(archive.read(name), validate=False)


def wheel_component(wheel: Path, about: Metadata) -> Component:
    name, version = canonicalize_name(about.name), str(about.version)
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=wheel.name,
        description=about.summary,
        purl=PackageURL("pypi", name=name, version=version, qualifiers={"file_name": wheel.name}),
        hashes=[digest(wheel)],
        licenses=licenses(about),
    )


def licenses(about: Metadata) -> list[DisjunctiveLicense | LicenseExpression]:
    """What SPDX calls it, where the package says it so or unmistakably, else the names that it gives; else none."""
    factory = LicenseFactory()
    classified = [one.removeprefix(CLASSIFIER) for one in about.classifiers or [] if one.startswith(CLASSIFIER)]
    # Some put the whole text there, and old tools this word.
    named = [about.license] if about.license not in (None, "UNKNOWN") and "\n" not in about.license else []
    told = [about.license_expression] if about.license_expression else named or classified
    names = [SPDX.get(name, name) for name in told]
    # An expression has to stand alone, and what one name says may be one.
    return [factory.make_from_string(name) if len(names) == 1 else license_of(name) for name in names]


def license_of(name: str) -> DisjunctiveLicense:
    try:
        return LicenseFactory().make_with_id(name)
    except InvalidSpdxLicenseException:
        return LicenseFactory().make_with_name(name)


def needed_by(about: Metadata, components: Iterable[Component]) -> list[Component]:
    """Wheels of the bundle that it asks for without an extra; that some are for another Python does not matter here."""
    asked = about.requires_dist or []
    names = {canonicalize_name(one.name) for one in asked if one.marker is None or "extra" not in str(one.marker)}
    return [one for one in components if one.name in names]


def manifest_of(tarball: Path) -> dict[str, Any]:
    with tarfile.open(tarball) as archive:
        manifest = archive.extractfile("MANIFEST.json")
        assert manifest is not None, f"{tarball.name} is not a collection"
        about: dict[str, Any] = json.load(manifest)["collection_info"]
    return about


def collection_component(tarball: Path, about: dict[str, Any]) -> Component:
    name = f"{about['namespace']}.{about['name']}"
    told = [LicenseFactory().make_from_string(one) for one in about["license"]]
    in_file = [LicenseFactory().make_with_name(f"file {about['license_file']}")] if about["license_file"] else []
    return Component(
        name=name,
        version=about["version"],
        type=ComponentType.LIBRARY,
        bom_ref=tarball.name,
        description=about["description"],
        purl=PackageURL("generic", name=name, version=about["version"]),
        hashes=[digest(tarball)],
        licenses=told or in_file,
    )


def digest(path: Path) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(path.read_bytes()).hexdigest())
