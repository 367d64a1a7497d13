# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the fenced examples of the pages: blocks with their language, and the commands of a console block."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("roles/*/README.md"))]

FENCE = re.compile(r"^```(?P<language>.*)$")
PROMPT = re.compile(r"^(?P<prompt>\$|guest#) (?P<line>.*)$")
ASSIGNMENT = re.compile(r"^[A-Z][A-Z0-9_]*=")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file_name(self) -> str | None:
        """The name that its first line, a comment, gives a playbook."""
        found = re.match(r"# (\S+\.yml)\n", self.text)
        return found.group(1) if found else None


@dataclass(frozen=True)
class Command:
    """One program and its arguments; what stands behind a pipe is a command of its own, a redirection is dropped."""

    block: Block
    in_guest: bool
    words: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def program(self) -> str:
        return self.words[0]

    @property
    def where(self) -> str:
        return f"{self.block.where}: {' '.join(self.words)}"


def blocks(page: Path) -> Iterator[Block]:
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
    for number, line in lines:
        opening = FENCE.match(line)
        if opening:
            body = []
            for _, inner in lines:
                if inner == "```":
                    break
                body.append(inner)
            yield Block(page, number, opening["language"], "\n".join(body) + "\n")


def commands(block: Block) -> Iterator[Command]:
    """Lines with a prompt, with their continuations; the other lines of a console block are output."""
    for text in re.sub(r"\\\n\s*", "", block.text).splitlines():
        found = PROMPT.match(text)
        if found:
            for words, environment in simple_commands(found["line"]):
                yield Command(block, found["prompt"] == "guest#", words, environment)


def simple_commands(line: str) -> Iterator[tuple[list[str], dict[str, str]]]:
    """`<placeholders>` and `$(substitutions)` become one word each; so do variables, which nobody expands here."""
    line = re.sub(r"\$\([^)]*\)|<[^<>]*>", "PLACEHOLDER", line).replace("$PWD", "/here")
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for token in [*lexer, ";"]:
        if token in {"|", ";", "&&"}:
            yield from one_command(words)
            words = []
        else:
            words.append(token)


def one_command(words: list[str]) -> Iterator[tuple[list[str], dict[str, str]]]:
    if ">" in words:
        words = words[: words.index(">")]
    environment = {}
    while words and (words[0] in {"sudo", "export"} or ASSIGNMENT.match(words[0])):
        name, equals, value = words[0].partition("=")
        if equals:
            environment[name] = value
        words = words[1:]
    if words or environment:
        yield words or ["export"], environment


def tasks_of(text: str) -> Iterator[dict[str, Any]]:
    """Every task of a playbook or of a list of tasks, those of blocks included."""

    def walk(entries: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for entry in entries:
            nested = [
                entry[key] for key in ("pre_tasks", "tasks", "post_tasks", "block", "rescue", "always") if key in entry
            ]
            if not nested and "hosts" not in entry:
                yield entry
            for inner in nested:
                yield from walk(inner)

    yield from walk(yaml.safe_load(text))
