# SPDX-License-Identifier: GPL-3.0-or-later
"""Customizations from people who mean harm, or were careless: each is refused by its own code, within bounds."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.hostile_customizations import corpus
from tests.fakes.hostile_customizations.corpus import Case

CASES = list(corpus.cases())
JUDGE = Path(corpus.__file__).with_name("judge.py")

Judge = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    """Judges a spec in a process of its own, with 64 MiB more than it begins with and 1 s of processor time."""
    with subprocess.Popen([sys.executable, str(JUDGE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        stdin, stdout = program.stdin, program.stdout
        assert stdin is not None and stdout is not None

        def ask(spec: dict[str, Any]) -> dict[str, Any]:
            stdin.write(json.dumps(spec).encode() + b"\n")
            stdin.flush()
            answer: dict[str, Any] = json.loads(stdout.readline())
            return answer

        yield ask
        stdin.close()


def test_the_corpus_is_large_and_its_files_stand_in_pairs() -> None:
    assert len(CASES) >= 100
    files = [path for name in corpus.SPECS for path in (corpus.FOLDER / name).iterdir()]
    assert len(files) == 2 * sum("/" in case.name and case.name.partition("/")[0] in corpus.SPECS for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_refused_by_its_code_in_64_mib_and_a_second(case: Case, judge: Judge) -> None:
    """T28: what exhausts a reader of YAML, gzip, MIME or templates. T29: what XML does to one."""
    answer = judge(case.bad)
    assert case.code in answer.get("errors", answer), answer


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_its_near_twin_is_taken(case: Case, judge: Judge) -> None:
    answer = judge(case.good)
    assert answer.get("errors", answer) == [], answer
