# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree of an answer file of Windows, and what its elements are made by."""

from __future__ import annotations

from xml.etree import ElementTree

from .unattend_reference import NAMESPACE, PASSES, PUBLIC_KEY_TOKEN, WCM

__all__ = ["AnswerFile", "add_item", "child", "set_texts", "tag"]

ElementTree.register_namespace("", NAMESPACE)
ElementTree.register_namespace("wcm", WCM)


class AnswerFile:
    """The tree of an answer file, new or read; passes and components are made as they are asked for."""

    def __init__(self, root: ElementTree.Element | None = None, *, architecture: str = "amd64") -> None:
        self.root = ElementTree.Element(tag("unattend")) if root is None else root
        self._architecture = architecture

    def component(self, name: str, of: str) -> ElementTree.Element:
        """The component of that name in the pass `of`."""
        settings = self._pass(of)
        for found in settings.findall(tag("component")):
            if (found.get("name"), found.get("processorArchitecture")) == (name, self._architecture):
                return found
        attributes = {
            "name": name,
            "processorArchitecture": self._architecture,
            "publicKeyToken": PUBLIC_KEY_TOKEN,
            "language": "neutral",
            "versionScope": "nonSxS",
        }
        return ElementTree.SubElement(settings, tag("component"), attributes)

    def to_bytes(self) -> bytes:
        ElementTree.indent(self.root)
        text = ElementTree.tostring(self.root, encoding="unicode")
        return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()

    def _pass(self, name: str) -> ElementTree.Element:
        there = self.root.findall(tag("settings"))
        for found in there:
            if found.get("pass") == name:
                return found
        before = [found for found in there if found.get("pass") in PASSES[: PASSES.index(name)]]
        made = ElementTree.Element(tag("settings"), {"pass": name})
        self.root.insert(list(self.root).index(before[-1]) + 1 if before else 0, made)
        return made


def tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def child(parent: ElementTree.Element, name: str) -> ElementTree.Element:
    found = parent.find(tag(name))
    return ElementTree.SubElement(parent, tag(name)) if found is None else found


def add_item(parent: ElementTree.Element, name: str, key: str | None = None) -> ElementTree.Element:
    """One more item of a list."""
    attributes = {f"{{{WCM}}}action": "add"} | ({} if key is None else {f"{{{WCM}}}keyValue": key})
    return ElementTree.SubElement(parent, tag(name), attributes)


def set_texts(parent: ElementTree.Element, **texts: str | int | None) -> None:
    """Elements with text; none for None, as most settings may not be empty."""
    for name, text in texts.items():
        if text is not None:
            ElementTree.SubElement(parent, tag(name)).text = str(text)
