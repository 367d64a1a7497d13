# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTPS request as it is written, for what our own client would refuse to send."""

import http.client
import json
import ssl
from typing import Any, Protocol

__all__ = ["Place", "call"]


class Place(Protocol):
    @property
    def endpoint(self) -> str: ...

    @property
    def ca_file(self) -> str: ...


def call(place: Place, method: str, path: str, token: str | None = None, body: Any = None) -> tuple[int, Any]:
    """Status, and the body: parsed when it is a JSON object."""
    context = ssl.create_default_context(cafile=place.ca_file)
    host, _, port = place.endpoint.removeprefix("https://").partition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=20)
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, content, headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, json.loads(data) if data.startswith(b"{") else data
