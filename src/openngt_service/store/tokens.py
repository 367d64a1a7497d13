# SPDX-License-Identifier: GPL-3.0-or-later
"""Bearer tokens of the admin API. The database holds hashes: a copy of it opens no door.

A token is 256 random bits, so one SHA-256 is enough; slow hashes are for secrets that people make up.
"""

import datetime
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError

from openngt import effects
from openngt.errors import OpenNGTError

from . import audit, schema
from .database import Database

__all__ = ["ROLES", "Role", "Token", "Tokens"]

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what the ones before it may do."""

PREFIX = "openngt_"
"""Lets secret scanners find a token that landed where it does not belong."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}\Z")


@dataclass(frozen=True)
class Token:
    name: str
    role: Role
    created: datetime.datetime

    def allows(self, role: Role) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


class Tokens:
    """All tokens, mirrored in memory: `load` once before use."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_hash: dict[str, Token] = {}

    async def load(self) -> None:
        """Read the tokens from the database."""
        self._by_hash = await self._database.read(_load)

    def authenticate(self, secret: str) -> Token | None:
        """Whose secret this is; takes the same time for any wrong one."""
        given = _hash(secret)
        found = None
        for known, token in self._by_hash.items():
            if hmac.compare_digest(known, given):
                found = token
        return found

    def accepts(self, token: Token) -> bool:
        """Whether this token would still be let in; one that was made anew under its name is another one."""
        return token in self._by_hash.values()

    def list(self) -> list[Token]:
        """All tokens by name, without their secrets, which nobody knows any more."""
        return sorted(self._by_hash.values(), key=lambda token: token.name)

    async def create(self, name: str, role: Role, *, actor: str) -> str:
        """Make a token and return its secret, the only time that it is seen. INVALID_INPUT for a bad or taken name."""
        if not NAME.match(name):
            raise OpenNGTError("INVALID_INPUT", "name: give 1 to 64 letters, digits, or any of _ . @ -")
        if role not in ROLES:
            raise OpenNGTError("INVALID_INPUT", f"role: give one of {', '.join(ROLES)}")
        secret = PREFIX + secrets.token_urlsafe(32)
        token, secret_sha256 = Token(name, role, effects.now()), _hash(secret)

        def write(connection: Connection) -> None:
            row = {"name": name, "role": role, "secret_sha256": secret_sha256, "created": token.created}
            connection.execute(insert(schema.tokens), row)
            audit.append(connection, [audit.AuditEntry(actor, "token.create", details={"name": name, "role": role})])

        try:
            await self._database.write(write, committed=lambda _: self._by_hash.update({secret_sha256: token}))
        except IntegrityError as exc:
            raise OpenNGTError("INVALID_INPUT", f"name: there is a token {name} already") from exc
        return secret

    async def revoke(self, name: str, *, actor: str) -> bool:
        """Delete a token: the next request with it is refused. False when there is none of that name."""

        def write(connection: Connection) -> bool:
            found = connection.execute(delete(schema.tokens).where(schema.tokens.c.name == name)).rowcount > 0
            if found:
                audit.append(connection, [audit.AuditEntry(actor, "token.revoke", details={"name": name})])
            return found

        return await self._database.write(write, committed=lambda _: self._forget(name))

    async def ensure_admin(self, path: Path) -> bool:
        """At the first start: an admin token in a file (0600), so that somebody can call the API. True if it was made.

        A start that was cut short between database and file makes a new one, since nobody knows the old secret.
        """
        if path.exists() and any(token.role == "admin" for token in self._by_hash.values()):
            return False
        await self.revoke("admin", actor="service")
        secret = await self.create("admin", "admin", actor="service")
        effects.write_private(str(path), secret.encode() + b"\n")
        return True

    def _forget(self, name: str) -> None:
        self._by_hash = {known: token for known, token in self._by_hash.items() if token.name != name}


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _load(connection: Connection) -> dict[str, Token]:
    return {
        row.secret_sha256: Token(row.name, row.role, row.created) for row in connection.execute(select(schema.tokens))
    }
