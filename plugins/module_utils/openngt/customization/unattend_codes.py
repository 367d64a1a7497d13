# SPDX-License-Identifier: GPL-3.0-or-later
"""Codes of findings that only Windows guests have; `findings.CODES` holds them with the others."""

from __future__ import annotations

__all__ = ["UNATTEND_CODES"]

UNATTEND_CODES = {
    "BAD_ATTRIBUTE": "give the component the attributes that Windows System Image Manager writes",
    "BAD_COMPUTER_NAME": "give * or at most 15 letters, digits and hyphens, and not digits alone",
    "BAD_HIDDEN_PASSWORD": "write it with PlainText true, or encode value and element's name as UTF-16LE, then base64",
    "BAD_XML": "correct the text at the named line; it cannot be read as XML",
    "DUPLICATE_COMPONENT": "put the settings of both into one component",
    "DUPLICATE_PASS": "put the components of both into one settings element",
    "LOGON_NEEDED": "give autologon, or know that the commands wait until an administrator logs on",
    "MISSING_ACTION": 'write wcm:action="add" into each item of a list',
    "NOT_AN_ANSWER_FILE": 'begin with <unattend xmlns="urn:schemas-microsoft-com:unattend">',
    "NOT_ON_WINDOWS": "leave it out: files get the rights of their folder",
    "UNKNOWN_COMPONENT": "compare it with Windows' reference; a component that the image lacks ends Setup",
    "UNKNOWN_PASS": "take one of Windows' passes: windowsPE, specialize, oobeSystem …",
    "WRONG_ENCODING": "save it as UTF-8, and have its declaration say so",
    "WRONG_PASS": "move it to a pass where it is valid",
    "XML_DOCTYPE": "take the document type and its entities out: an answer file needs none",
    "XML_INSTRUCTION": "take the processing instruction (<?…?>) out: an answer file needs none",
}
