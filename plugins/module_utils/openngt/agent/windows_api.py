# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Windows' own functions as far as the agent calls them, by ctypes.

Nothing is loaded before the first call, so that this can be imported everywhere. Each number is given in the width of
its parameter: ctypes would take it for 32 bits and cut a handle in two.
"""

import contextlib
import ctypes
import functools
from ctypes import byref, c_int, c_int64, c_uint32, c_void_p, c_wchar_p
from typing import Any, Iterator, Optional

__all__ = [
    "INVALID_HANDLE",
    "call",
    "checked",
    "close_handle",
    "error",
    "local_pointer",
    "registry_value",
    "security_descriptor",
    "uptime_seconds",
    "volatile_key",
]

INVALID_HANDLE = c_void_p(-1).value
HKEY_LOCAL_MACHINE = c_void_p(0x80000002 - (1 << 32))  # a negative number, in whatever width a handle has
REG_OPTION_VOLATILE = 1
KEY_READ_WRITE, KEY_WOW64_64KEY = 0x2001F, 0x100
REG_SZ, RRF_RT_REG_SZ = 1, 2

_ctypes: Any = ctypes  # what follows is there on Windows alone


@functools.lru_cache(maxsize=None)
def _dll(name: str) -> Any:
    return _ctypes.WinDLL(name, use_last_error=True)


def call(dll: str, name: str, result: Any, *arguments: Any) -> Any:
    """Call a function of a DLL; `result` is its ctypes type. Numbers among the arguments are ctypes values."""
    function = getattr(_dll(dll), name)
    function.restype = result
    return function(*arguments)


def error(number: Optional[int] = None) -> OSError:
    """What Windows says of the last call, or of an error's number: OSError with its errno and text."""
    found = _ctypes.WinError(_ctypes.get_last_error() if number is None else number)
    return found if isinstance(found, OSError) else OSError(str(found))


def checked(dll: str, name: str, *arguments: Any) -> int:
    """Call a function that answers 0 when it fails; OSError then."""
    answer = call(dll, name, c_int, *arguments)
    if not answer:
        raise error()
    return int(answer)


def close_handle(handle: Any) -> None:
    call("kernel32", "CloseHandle", c_int, c_void_p(handle))


@contextlib.contextmanager
def local_pointer() -> Iterator[Any]:
    """A pointer for a function to fill in with memory that its caller frees (LocalFree)."""
    pointer = c_void_p()
    try:
        yield pointer
    finally:
        if pointer:
            call("kernel32", "LocalFree", c_void_p, pointer)


@contextlib.contextmanager
def security_descriptor(sddl: str) -> Iterator[Any]:
    """A security descriptor from its text (Security Descriptor String Format)."""
    with local_pointer() as found:
        checked(
            "advapi32",
            "ConvertStringSecurityDescriptorToSecurityDescriptorW",
            c_wchar_p(sddl),
            c_uint32(1),
            byref(found),
            None,
        )
        yield found


def uptime_seconds() -> float:
    milliseconds = call("kernel32", "GetTickCount64", c_int64)
    return float(milliseconds) / 1000.0


def registry_value(key: str, name: str) -> Any:
    """A value below HKEY_LOCAL_MACHINE as `winreg` gives it; None where there is none. The 64-bit view on any Python.

    An empty `name` asks whether the key is there: True or None.
    """
    import winreg  # there on Windows alone

    registry: Any = winreg
    try:
        access = registry.KEY_READ | registry.KEY_WOW64_64KEY
        with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, key, 0, access) as opened:
            return registry.QueryValueEx(opened, name)[0] if name else True
    except OSError:
        return None


def volatile_key(key: str, name: str, text: str) -> str:
    """The text of a value in a key that is gone with the next boot; the given one where there is none yet."""
    handle = c_void_p()
    status = call(
        "advapi32",
        "RegCreateKeyExW",
        c_int,
        HKEY_LOCAL_MACHINE,
        c_wchar_p(key),
        c_uint32(0),
        None,
        c_uint32(REG_OPTION_VOLATILE),
        c_uint32(KEY_READ_WRITE | KEY_WOW64_64KEY),
        None,
        byref(handle),
        None,
    )
    if status:
        raise error(status)
    try:
        return _text_of(handle, name) or _set_text(handle, name, text)
    finally:
        call("advapi32", "RegCloseKey", c_int, handle)


def _text_of(handle: Any, name: str) -> Optional[str]:
    buffer = ctypes.create_unicode_buffer(256)
    size = c_uint32(ctypes.sizeof(buffer))
    arguments = (handle, None, c_wchar_p(name), c_uint32(RRF_RT_REG_SZ), None, buffer, byref(size))
    return None if call("advapi32", "RegGetValueW", c_int, *arguments) else buffer.value


def _set_text(handle: Any, name: str, text: str) -> str:
    value = ctypes.create_unicode_buffer(text)
    size = c_uint32(ctypes.sizeof(value))
    status = call(
        "advapi32", "RegSetValueExW", c_int, handle, c_wchar_p(name), c_uint32(0), c_uint32(REG_SZ), value, size
    )
    if status:
        raise error(status)
    return text
