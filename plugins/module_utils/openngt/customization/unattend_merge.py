# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of ours in an answer file that somebody has written."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import OpenNGTError
from ._defusedxml import Refused, read
from .answer_tree import AnswerFile
from .unattend import add_first_logon, add_specialize
from .unattend_reference import NAMESPACE
from .unattend_text import decoded

__all__ = ["with_commands"]

IMAGES = ("amd64", "x86", "arm64")


def with_commands(content: bytes, specialize: Sequence[str], first_logon: Sequence[str]) -> bytes:
    """The answer file in UTF-8 with both kinds of commands behind its own. Comments do not come along.

    INVALID_INPUT for what `validate_unattend` would refuse as a whole.
    """
    text, problem = decoded(content)
    try:
        tree = read(text)
    except Refused as exc:
        problem = exc.text
    else:
        if tree.root.tag != f"{{{NAMESPACE}}}unattend":
            problem = "is no answer file of Windows"
    if problem is not None:
        message = f"scripts[0].content cannot be extended by commands: it {problem}"
        raise OpenNGTError("INVALID_INPUT", message, {"field": "scripts[0].content"})
    of_components = [found.get("processorArchitecture") for found in tree.root.iter(f"{{{NAMESPACE}}}component")]
    # What runs as wow64 is a part of a Windows of 64 bits.
    architecture = next((found for found in of_components if found in IMAGES), IMAGES[0])
    answers = AnswerFile(tree.root, architecture=architecture)
    for command in specialize:
        add_specialize(answers, command)
    for command in first_logon:
        add_first_logon(answers, command)
    return answers.to_bytes()
