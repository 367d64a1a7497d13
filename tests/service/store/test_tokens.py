# SPDX-License-Identifier: GPL-3.0-or-later
"""Bearer tokens: shown once, kept as hashes, gone at once when revoked."""

import asyncio
import stat
from pathlib import Path

import pytest

from openngt.errors import OpenNGTError
from openngt_service.config import Settings
from openngt_service.store.tokens import Role, Token

from .conftest import OpenStore


def test_a_token_opens_until_it_is_revoked_and_its_secret_is_nowhere_on_disk(
    opened: OpenStore, settings: Settings
) -> None:
    async def main() -> str:
        async with opened() as store:
            secret = await store.tokens.create("ci", "operator", actor="test")
            token = store.tokens.authenticate(secret)
            assert token is not None and (token.name, token.role) == ("ci", "operator")
            assert store.tokens.authenticate(secret + "x") is None
            assert store.tokens.authenticate("") is None
        async with opened() as store:
            assert store.tokens.authenticate(secret) == token
            assert await store.tokens.revoke("ci", actor="test")
            assert not await store.tokens.revoke("ci", actor="test")
            assert store.tokens.authenticate(secret) is None
        return secret

    secret = asyncio.run(main())
    assert all(secret.encode() not in path.read_bytes() for path in Path(settings.state_dir).glob("openngt.db*"))


@pytest.mark.parametrize(
    ("held", "allowed"),
    [
        ("viewer", {"viewer"}),
        ("operator", {"viewer", "operator"}),
        ("admin", {"viewer", "operator", "admin"}),
    ],
)
def test_roles_include_the_ones_below(held: Role, allowed: set[Role]) -> None:
    token = Token("name", held, created=None)  # type: ignore[arg-type]  # not looked at
    roles: tuple[Role, ...] = ("viewer", "operator", "admin")
    assert {role for role in roles if token.allows(role)} == allowed


@pytest.mark.parametrize(("name", "role"), [("", "admin"), ("a b", "admin"), ("x" * 65, "admin"), ("ok", "root")])
def test_a_bad_name_or_role_is_refused(opened: OpenStore, name: str, role: Role) -> None:
    async def main() -> None:
        async with opened() as store:
            with pytest.raises(OpenNGTError) as failure:
                await store.tokens.create(name, role, actor="test")
            assert failure.value.code == "INVALID_INPUT"

    asyncio.run(main())


def test_a_taken_name_is_refused_and_the_first_token_stays(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            secret = await store.tokens.create("ci", "viewer", actor="test")
            with pytest.raises(OpenNGTError) as failure:
                await store.tokens.create("ci", "admin", actor="test")
            assert failure.value.code == "INVALID_INPUT"
            token = store.tokens.authenticate(secret)
            assert token is not None and token.role == "viewer"

    asyncio.run(main())


def test_the_first_start_writes_an_admin_token_and_later_ones_keep_it(opened: OpenStore, settings: Settings) -> None:
    async def main() -> None:
        path = settings.admin_token_file
        async with opened() as store:
            assert await store.tokens.ensure_admin(path)
            secret = path.read_text().strip()
        async with opened() as store:
            assert not await store.tokens.ensure_admin(path)
            token = store.tokens.authenticate(secret)
            assert token is not None and token.role == "admin"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            path.unlink()
            assert await store.tokens.ensure_admin(path), "nobody knows the old secret any more"
            assert store.tokens.authenticate(secret) is None

    asyncio.run(main())
