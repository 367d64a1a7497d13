# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example that takes no guest is run, page by page, with the real service; the rest is in tests/e2e."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.hypervisor import FakeHypervisor

from ..conftest import program
from .examples import MODULES, PAGES, ROOT, examples_of, files_of
from .layouts import BEFORE, IDS, VARIABLES, environment, inventory, own_environment, program_before_fake
from .session import NOT_RUN, UUIDS, Session, not_run, on_guests, page_name, run_page
from .shell import Shell

ALL = [*PAGES, *MODULES]
HERE = [page for page in ALL if any(not on_guests(one) and not not_run(one) for one in examples_of(page))]
# Builds and installs what users install.
SLOW = {"README.md"}
# `make test` runs these from first to last where they have guests; what is left of them here is for who has none.
WITH_GUESTS = {"README.md", "docs/diagnosis.md", "docs/guide.md"}
# Its VM is a QEMU process without an operating system.
REAL_HYPERVISOR = {"docs/lab.md"}
LIMIT_SECONDS = 300.0


@pytest.fixture
def session_for(collection: Path, tmp_path: Path) -> Iterator[Callable[[Path], Session]]:
    shells: list[Shell] = []

    def make(page: Path) -> Session:
        folder = tmp_path / "page"
        folder.mkdir()
        bin_folder = program_before_fake(tmp_path)
        hypervisor = FakeHypervisor(tmp_path / "hypervisor.json")
        for name, vm_uuid in UUIDS.items():
            hypervisor.add(vm_uuid, name, {"cd0": None, "cd1": None})
        if page_name(page) == "README.md":
            outside = own_environment(tmp_path, folder)
        else:
            fake = [] if page_name(page) in REAL_HYPERVISOR else [bin_folder]
            outside = environment(tmp_path, collection, [*fake, str(Path(program("openngt")).parent)])
        shell = Shell(folder, outside, private=True, limit=LIMIT_SECONDS)
        shells.append(shell)
        return Session(shell, page, {}, VARIABLES, ids=IDS)

    yield make
    for shell in shells:
        shell.close()


def parameter(page: Path) -> Any:
    name = page_name(page)
    marks = [pytest.mark.slow] * (name in SLOW) + [pytest.mark.nightly] * (name in WITH_GUESTS)
    return pytest.param(page, id=name, marks=marks)


@pytest.mark.parametrize("page", [*map(parameter, HERE)])
def test_the_examples_of_a_page_run_in_its_order(page: Path, session_for: Callable[[Path], Session]) -> None:
    session = session_for(page)
    session.lay_out(inventory(UUIDS), BEFORE.get(page_name(page), ()))
    run_page(session, lambda example: not on_guests(example))


def test_the_list_of_what_is_not_run_names_examples_that_are_there() -> None:
    examples = [(page_name(page), one.text) for page in ALL for one in examples_of(page)]
    for page, begin in NOT_RUN:
        assert any(name == page and text.startswith(begin) for name, text in examples), (page, begin)


def test_a_file_that_a_page_names_is_used_by_one_of_its_commands() -> None:
    for page in PAGES:
        words = [word for one in examples_of(page) for command in one.commands for word in command.words]
        # Ansible finds its files of variables by itself.
        named = {name for name in files_of(page) if not name.startswith(("group_vars/", "host_vars/"))}
        assert named <= set(words), page_name(page)


def test_an_example_that_prints_something_else_or_fails_is_found(session_for: Callable[[Path], Session]) -> None:
    session = session_for(ROOT / "docs/guide.md")
    session.lay_out(inventory(UUIDS))
    [wrong, *_] = [one for one in examples_of(ROOT / "docs/cli.md") if one.printed]
    with pytest.raises(AssertionError, match="no-such-program"):
        session.run(type(wrong)(wrong.block, "command", "no-such-program"))
    with pytest.raises(AssertionError, match="the page says"):
        session.run(type(wrong)(wrong.block, "command", "echo something else", wrong.printed[1:] or ("x",)))
