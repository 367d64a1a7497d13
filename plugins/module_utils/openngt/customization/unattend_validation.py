# SPDX-License-Identifier: GPL-3.0-or-later
"""An answer file as Windows will take it: its bytes, its XML, and what stands where it has no effect.

Pure, and bounded: at most 32,000 bytes are read, no entity is expanded, and nothing is fetched.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple
from xml.etree import ElementTree

from ..install.fleet.shapes import nearest
from ._defusedxml import Refused, Tree, read
from .findings import finding
from .model import Finding, Script
from .sysprep import LIMIT
from .unattend_reference import (
    ARCHITECTURES,
    COMPONENTS,
    DEPRECATED,
    NAMESPACE,
    PASSES,
    PUBLIC_KEY_TOKEN,
    REFERENCE,
    SETTINGS,
    VERSION_SCOPES,
    WCM,
)
from .unattend_text import decoded

__all__ = ["validate_unattend"]

DEEPEST = 32
MOST_FINDINGS = 100
SHELL = "Microsoft-Windows-Shell-Setup"
ATTRIBUTES = {
    "processorArchitecture": ARCHITECTURES,
    "publicKeyToken": (PUBLIC_KEY_TOKEN,),
    "language": None,
    "versionScope": VERSION_SCOPES,
}
"""What a component must have; None: any value."""
LIST_ITEMS = frozenset(
    [
        "AsynchronousCommand",
        "CreatePartition",
        "Disk",
        "DomainAccount",
        "DomainAccountList",
        "Interface",
        "LocalAccount",
        "MetaData",
        "ModifyPartition",
        "PathAndCredentials",
        "RunAsynchronousCommand",
        "RunSynchronousCommand",
        "SynchronousCommand",
    ]
)
PASSWORDS = ("AdministratorPassword", "MachinePassword", "Password")
FORBIDDEN_IN_NAMES = re.compile(r"""[\s{|}~\[\\\]^':;<=>?@!"#$%`()+/.,*&]""")
"""The page of Shell-Setup's ComputerName."""
COMPUTER_NAME_BYTES = 15


class _Place(NamedTuple):
    """Where an element stands, as findings name it."""

    part: str
    path: str
    line: int | None


def validate_unattend(script: Script, part: str, *, install_type: str | None = None) -> list[Finding]:
    """Everything that is wrong with an answer file, in its order, 100 at most; empty: nothing was found.

    With `install_type` settings in passes that never run there are told, too. LIBRARY_MISSING.
    """
    if not script.content.strip():
        return [finding("EMPTY", part, "holds no answer file")]
    if len(script.content) > LIMIT:
        return [finding("TOO_LARGE", part, f"has {len(script.content)} bytes; at most {LIMIT} are taken")]
    text, problem = decoded(script.content)
    if problem is not None:
        return [finding("WRONG_ENCODING", part, problem, line=1)]
    if "\0" in text:
        return [finding("NUL_BYTE", part, "holds a NUL", line=text.count("\n", 0, text.index("\0")) + 1)]
    try:
        tree = read(text)
    except Refused as exc:
        code = "XML_DOCTYPE" if exc.why == "dtd" else "BAD_XML"
        return [finding(code, part, exc.text, line=exc.line)]
    found = []
    for one in _of_tree(tree, part, install_type):
        found.append(one)
        if len(found) == MOST_FINDINGS:
            break
    return found


def _of_tree(tree: Tree, part: str, install_type: str | None) -> Iterator[Finding]:
    if tree.depth > DEEPEST:
        yield finding("TOO_DEEP", part, f"nests elements {tree.depth} deep; at most {DEEPEST} will do")
        return
    for line in tree.instructions[:1]:
        yield finding("XML_INSTRUCTION", part, "has a processing instruction", line=line)
    if tree.root.tag != f"{{{NAMESPACE}}}unattend":
        line = tree.lines[tree.root]
        yield finding("NOT_AN_ANSWER_FILE", part, "has another root element, or not Windows' namespace", line=line)
        return
    seen: set[str] = set()
    for settings in tree.root.findall(_tag("settings")):
        name = settings.get("pass", "")
        place = _Place(part, f"settings[{_shown(name)}]", tree.lines[settings])
        yield from _of_pass(name, place, seen, install_type)
        if name in PASSES:
            yield from _of_components(settings, name, place, tree)
    yield from _of_every_element(tree, part)


def _of_pass(name: str, place: _Place, seen: set[str], install_type: str | None) -> Iterator[Finding]:
    if name not in PASSES:
        meant = nearest(name, [one.lower() for one in PASSES])
        right = next((one for one in PASSES if one.lower() == meant), None)
        remedy = f"did you mean {right}?" if right else f"take one of {', '.join(PASSES)}"
        yield _finding("UNKNOWN_PASS", place, "is no pass of Windows", remedy=remedy)
    elif name in seen:
        yield _finding("DUPLICATE_PASS", place, "is there twice", severity="warning")
    elif name in ("windowsPE", "offlineServicing") and install_type == "prepared":
        said = "does not run in an image that Sysprep has prepared"
        yield _finding("WRONG_PASS", place, said, remedy="set install_type: fresh, or take it out", severity="warning")
    seen.add(name)


def _of_components(settings: ElementTree.Element, of: str, place: _Place, tree: Tree) -> Iterator[Finding]:
    seen: set[tuple[str | None, ...]] = set()
    for component in settings.findall(_tag("component")):
        name = component.get("name", "")
        here = _Place(place.part, f"{place.path}/component[{_shown(name)}]", tree.lines[component])
        yield from _of_attributes(component, here)
        same = tuple(component.get(key) for key in ("name", "processorArchitecture", "language"))
        if same in seen:
            yield _finding("DUPLICATE_COMPONENT", here, "is there twice in its pass")
        seen.add(same)
        known = COMPONENTS.get(name)
        if known is None:
            yield _unknown_component(name, here)
        elif of not in known.passes:
            yield _wrong_pass(here, of, known.passes, known.page)
        else:
            yield from _of_settings(component, name, of, here, tree)


def _of_attributes(component: ElementTree.Element, place: _Place) -> Iterator[Finding]:
    if not component.get("name"):
        yield _finding("BAD_ATTRIBUTE", place, "has no attribute name")
    for key, values in ATTRIBUTES.items():
        value = component.get(key)
        if not value:
            remedy = f"give one of {', '.join(values)}" if values else 'give language="neutral"'
            yield _finding("BAD_ATTRIBUTE", place, f"has no attribute {key}", remedy=remedy)
        elif values is not None and value not in values:
            remedy = f"give one of {', '.join(values)}"
            yield _finding("BAD_ATTRIBUTE", place, f"has another {key} than Windows knows", remedy=remedy)


def _unknown_component(name: str, place: _Place) -> Finding:
    lower = {known.lower(): known for known in COMPONENTS}
    meant = nearest(name, lower)
    remedy = f"did you mean {lower[meant]}?" if meant else None
    return _finding("UNKNOWN_COMPONENT", place, "is none that this check knows", remedy=remedy, severity="warning")


def _of_settings(component: ElementTree.Element, name: str, of: str, place: _Place, tree: Tree) -> Iterator[Finding]:
    for setting in component:
        local = _local(setting)
        here = _Place(place.part, f"{place.path}/{_shown(local)}", tree.lines[setting])
        passes = SETTINGS.get((name, local))
        if passes is not None and of not in passes:
            yield _wrong_pass(here, of, passes, f"{name}-{local}".lower())
        if (name, local) == (SHELL, "ComputerName"):
            yield from _of_computer_name(setting.text or "", here)
        for child in setting:
            instead = DEPRECATED.get((name, local, _local(child)))
            if instead is not None:
                there = _Place(here.part, f"{here.path}/{_local(child)}", tree.lines[child])
                yield _finding("DEPRECATED_KEY", there, "is deprecated", remedy=instead, severity="warning")


def _of_computer_name(name: str, place: _Place) -> Iterator[Finding]:
    if name in ("", "*"):
        return
    if len(name.encode()) > COMPUTER_NAME_BYTES:
        yield _finding("BAD_COMPUTER_NAME", place, f"has more than {COMPUTER_NAME_BYTES} bytes")
    elif FORBIDDEN_IN_NAMES.search(name):
        yield _finding("BAD_COMPUTER_NAME", place, "has a character that Windows allows in no computer name")
    elif name.isdecimal():
        yield _finding("BAD_COMPUTER_NAME", place, "has digits alone")


def _of_every_element(tree: Tree, part: str) -> Iterator[Finding]:
    for element in tree.root.iter():
        local = _local(element)
        place = _Place(part, _shown(local), tree.lines[element])
        if local in LIST_ITEMS and element.get(f"{{{WCM}}}action") is None:
            yield _finding("MISSING_ACTION", place, "is an item of a list without wcm:action", severity="warning")
        if local in PASSWORDS:
            yield from _of_password(element, local, place)


def _of_password(element: ElementTree.Element, local: str, place: _Place) -> Iterator[Finding]:
    """T35. A value in the hidden form that Windows cannot decode ends Setup without a word about it."""
    value = element.findtext(_tag("Value"))
    if not (value if value is not None else (element.text or "").strip()):
        return
    if value is not None and (element.findtext(_tag("PlainText")) or "").strip().lower() == "false":
        try:
            hidden = base64.b64decode(value.strip() + "=" * (-len(value.strip()) % 4), validate=True)
            right = hidden.decode("utf-16-le").endswith(local)
        except (binascii.Error, ValueError):
            right = False
        if not right:
            yield _finding("BAD_HIDDEN_PASSWORD", place, f"is no base64 of UTF-16LE that ends in {local}")
    said = "holds a password that everybody reads who has the file; base64 hides nothing"
    remedy = "give one that is changed after the first logon; scrub: true deletes Windows' copies"
    yield _finding("SECRET_IN_CLEAR", place, said, remedy=remedy, severity="warning")


def _wrong_pass(place: _Place, of: str, passes: frozenset[str], page: str) -> Finding:
    right = ", ".join(one for one in PASSES if one in passes)
    return _finding("WRONG_PASS", place, f"is not valid in {of}", remedy=f"move it to {right}: {REFERENCE}{page}")


def _finding(
    code: str,
    place: _Place,
    message: str,
    *,
    remedy: str | None = None,
    severity: Literal["error", "warning"] = "error",
) -> Finding:
    return finding(code, place.part, message, remedy=remedy, line=place.line, key=place.path, severity=severity)


def _shown(name: str) -> str:
    """Names are the author's: only what looks like one is repeated."""
    return name if re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,79}", name) else "?"


def _local(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"
