# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the examples of the pages and modules: fenced blocks with their language, commands with what they print."""

import ast
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(ROOT.glob("plugins/modules/*.py"))
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("roles/*/README.md"))]

FENCE = re.compile(r"^```(?P<language>.*)$")
PROMPT = re.compile(r"^(?P<prompt>\$|guest#) (?P<line>.*)$")
CONTINUED = re.compile(r"\\\n\s*")
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
        """The name that its first line, a comment, gives a file."""
        found = re.match(r"# (\S+\.(?:yml|toml)|inventory)\n", self.text)
        return found.group(1) if found else None


@dataclass(frozen=True)
class Example:
    """What is run as one: a command with the output that its page shows, or a block of a language."""

    block: Block
    kind: Literal["command", "yaml", "python"]
    text: str
    printed: Sequence[str] = ()
    in_guest: bool = False

    @property
    def where(self) -> str:
        return f"{self.block.where}: {self.text.splitlines()[0]}"

    @property
    def commands(self) -> list["Command"]:
        words = simple_commands(CONTINUED.sub("", self.text)) if self.kind == "command" else ()
        return [Command(self.block, self.in_guest, *one) for one in words]


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
    for example in console(block):
        yield from example.commands


def console(block: Block) -> Iterator[Example]:
    """Each command as it is typed, on several lines if need be, with the lines that follow it up to the next prompt."""
    prompt, typed, printed = "", "", list[str]()
    for line in [*block.text.splitlines(), "$ "]:
        found = PROMPT.match(line)
        if typed.endswith("\\"):
            typed += f"\n{line}"
        elif found:
            if typed:
                yield Example(block, "command", typed, tuple(printed), prompt == "guest#")
            prompt, typed, printed = found["prompt"], found["line"], []
        else:
            printed.append(line)


def examples_of(page: Path) -> list[Example]:
    """In the order in which a reader meets them. A file that has a name is none: a command of its page uses it."""
    found: list[Example] = []
    for block in [examples_block(page)] if page.suffix == ".py" else blocks(page):
        if block.language == "console":
            found += console(block)
        elif block.file_name is None and block.language == "yaml":
            found.append(Example(block, "yaml", block.text))
        elif block.language == "python":
            found.append(Example(block, "python", block.text))
    return found


def files_of(page: Path) -> dict[str, str]:
    """The files that a page shows with their names."""
    return {block.file_name: block.text for block in blocks(page) if block.file_name}


def examples_block(module: Path) -> Block:
    """EXAMPLES of a module's source."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXAMPLES":
            return Block(module, node.lineno, "yaml", str(ast.literal_eval(node.value)).lstrip())
    raise AssertionError(f"{module} has no EXAMPLES")


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
