# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus gets from a service."""

import http.client
import ssl

from tests.fakes.service import ServiceProcess

__all__ = ["scrape"]


def scrape(service: ServiceProcess, token: str | None = None) -> bytes:
    """The text of `/metrics`, over verified TLS."""
    context = ssl.create_default_context(cafile=service.ca_file)
    connection = http.client.HTTPSConnection(service.endpoint.removeprefix("https://"), context=context, timeout=30)
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status == 200, text
    return text
