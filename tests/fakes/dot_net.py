# SPDX-License-Identifier: GPL-3.0-or-later
"""The .NET classes that the script of winrm_prep uses, as far as it uses them and as Microsoft documents them."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from typing import Any

from tests.fakes.powershell_values import PowerShellError, Record

__all__ = ["TYPES", "RSACryptoServiceProvider"]


class RSACryptoServiceProvider:
    persist_key_in_csp = True

    def clear(self) -> None:
        """Its key is destroyed unless it persists."""


class ArrayList(list[Any]):
    def add(self, value: Any) -> int:
        self.append(value)
        return len(self) - 1

    def contains(self, value: Any) -> bool:
        return value in self


class IPAddress:
    @staticmethod
    def try_parse(text: str, reference: Any) -> bool:
        try:
            reference.set(ipaddress.ip_address(text))
        except ValueError:
            return False
        return True


class Sha256:
    @staticmethod
    def create() -> type[Sha256]:
        return Sha256

    @staticmethod
    def compute_hash(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()


class BitConverter:
    @staticmethod
    def to_string(data: bytes, begin: int = 0, length: int | None = None) -> str:
        return data[begin : len(data) if length is None else begin + length].hex("-").upper()


class Utf8:
    @staticmethod
    def get_bytes(text: str) -> bytes:
        return text.encode()


class Convert:
    @staticmethod
    def to_base64_string(data: bytes, _breaks: str) -> str:
        text = base64.b64encode(data).decode()
        return "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))


class WindowsIdentity:
    @staticmethod
    def get_current() -> str:
        return "WEB1\\admin"


TYPES: dict[str, Any] = {
    "ipaddress": IPAddress,
    "sha256": Sha256,
    "bitconverter": BitConverter,
    "encoding": Record({"UTF8": Utf8}),
    "convert": Convert,
    "base64formattingoptions": Record({"InsertLineBreaks": "InsertLineBreaks"}),
    "nullstring": Record({"Value": None}),
    "filemode": Record({"Create": "Create"}),
    "fileaccess": Record({"Write": "Write"}),
    "fileshare": Record({"None": "None"}),
    "fileoptions": Record({"WriteThrough": "WriteThrough"}),
    "windowsidentity": WindowsIdentity,
    "windowsbuiltinrole": Record({"Administrator": "Administrator"}),
    "securityidentifier": Record(),
    "invalidoperationexception": PowerShellError,
    "arraylist": ArrayList,
    "rsacryptoserviceprovider": RSACryptoServiceProvider,
}
