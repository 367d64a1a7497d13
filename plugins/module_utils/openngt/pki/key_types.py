# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of keys that we make."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["DEFAULT_KEY_TYPE", "KEY_TYPES", "KeyType"]

KeyType = Literal["ecdsa-p256", "rsa-2048", "rsa-3072", "ed25519"]
KEY_TYPES: tuple[KeyType, ...] = get_args(KeyType)
DEFAULT_KEY_TYPE: KeyType = "ecdsa-p256"
