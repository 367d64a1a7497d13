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


def write_sbom(stage: Path, version: str, seconds: int) -> None:
    """`sbom.cdx.json` in the bundle's folder, held to the schema; the same for the same files and time."""
    wheels = {path: metadata_of(path) for path in sorted((stage / "wheels").glob("*.whl"))}
    components = {path: wheel_component(path, about) for path, about in wheels.items()}
    collections = [collection_component(path) for path in sorted((stage / "collections").glob("*.tar.gz"))]
    bom = Bom(components=[*components.values(), *collections])
    digests = "".join(sorted(str(one.hashes) for one in bom.components))
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"openngt bundle {version} {digests}")
    bom.metadata.timestamp = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    bom.metadata.component = Component(name="openngt-bundle", version=version, type=ComponentType.APPLICATION)
    tops = [one for one in bom.components if one.name in ("openngt", GALAXY, "ansible-core")]
    bom.register_dependency(bom.metadata.component, tops)
    for path, about in wheels.items():
        bom.register_dependency(components[path], needed_by(about, components.values()))
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
    """An SPDX expression where the package gives one, else the names that it gives; none where it says nothing."""
    factory = LicenseFactory()
    if about.license_expression:
        return [factory.make_from_string(about.license_expression)]
    classified = [one.removeprefix(CLASSIFIER) for one in about.classifiers or [] if one.startswith(CLASSIFIER)]
    # Some put the whole text there, and old tools this word.
    named = [about.license] if about.license not in (None, "UNKNOWN") and "\n" not in about.license else []
    return [factory.make_with_name(name) for name in named or classified]


def needed_by(about: Metadata, components: Iterable[Component]) -> list[Component]:
    """Wheels of the bundle that it asks for without an extra; that some are for another Python does not matter here."""
    asked = about.requires_dist or []
    names = {canonicalize_name(one.name) for one in asked if one.marker is None or "extra" not in str(one.marker)}
    return [one for one in components if one.name in names]


def collection_component(tarball: Path) -> Component:
    with tarfile.open(tarball) as archive:
        manifest = archive.extractfile("MANIFEST.json")
        assert manifest is not None, f"{tarball.name} is not a collection"
        about = json.load(manifest)["collection_info"]
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
