# SPDX-License-Identifier: GPL-3.0-or-later
"""The one file of the library that imports `kerberos` (pykerberos), which pywinrm speaks Kerberos with.

Where the package is missing, importing this file still works; pywinrm then knows no Kerberos, and `require` of
_pywinrm.py says so.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

from ...errors import OpenNGTError

try:
    import kerberos
except ImportError:
    kerberos = None

__all__ = ["using"]


@contextlib.contextmanager
def using(cache: str) -> Iterator[None]:
    """Within, the calling thread's Kerberos takes its ticket from this cache, and other threads' from theirs.

    KRB5CCNAME would be the whole process'. LIBRARY_MISSING where the GSSAPI is neither MIT's nor Heimdal's.
    """
    try:
        # Of the very library that pykerberos is linked with: a symbol is looked for in what a library depends on, too.
        choose = ctypes.CDLL(kerberos.__file__).gss_krb5_ccache_name
    except (AttributeError, OSError) as exc:
        message = "the GSSAPI of pykerberos cannot be told which ticket to use; give no password, and a ticket"
        raise OpenNGTError("LIBRARY_MISSING", message) from exc
    choose.argtypes = [ctypes.POINTER(ctypes.c_uint32), ctypes.c_char_p, ctypes.c_void_p]
    minor = ctypes.c_uint32()
    choose(ctypes.byref(minor), cache.encode(), None)
    try:
        yield
    finally:
        choose(ctypes.byref(minor), None, None)
