# SPDX-License-Identifier: GPL-3.0-or-later
"""What a certificate says of itself that our CA has signed and the ledger does not know.

It opens nothing (threat T21). It tells the service that was restored from an older backup how far an agent's generation
has gone, so that the identity which it is given next is newer than its own.
"""

import ssl

from openngt.errors import OpenNGTError
from openngt.pki.identity import VmIdentity
from openngt.pki.inspect import inspect_certificate

__all__ = ["claim_of"]


def claim_of(der: bytes) -> VmIdentity | None:
    """VM and generation of a certificate whose chain TLS has verified; None when it is no VM's."""
    try:
        info = inspect_certificate(ssl.DER_cert_to_PEM_cert(der).encode())
    except OpenNGTError:
        return None
    if info.vm_uuid is None or info.generation is None:
        return None
    return VmIdentity(info.vm_uuid, info.generation)
