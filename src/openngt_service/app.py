# SPDX-License-Identifier: GPL-3.0-or-later
"""The service as one process: its parts are started in the order in which they need each other, and stopped in reverse.

Before the event loop: settings, lock, CA, certificates, database. On it: adapter, tasks, gateway, API. So at the end
the API takes no more calls, agents are told goodbye, tasks are interrupted by name, and the database is closed last.
"""

import asyncio
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack

import structlog
import uvloop

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.version import __version__

from .assembly import Foundation, Service
from .backup.restore import require_whole
from .config import Settings
from .descriptors import allow_all
from .garbage import settle
from .hypervisors import open_hypervisor
from .logging import configure_logging
from .service_certificates import ensure_authority
from .store.lock import state_lock
from .store.opening import open_store
from .supervisor import notify

__all__ = ["run"]

log = structlog.get_logger(__name__)

CA_NAME = "openngt CA"
RENEWAL_SECONDS = 86400.0


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. OpenNGTError when it cannot start, for the command line to show in one line."""
    settings = with_ports(settings.for_serving())
    configure_logging(settings.log_format, settings.log_level)
    allow_all()
    os.umask(0o077)
    with state_lock(settings.state_dir):
        require_whole(settings.state_dir)
        succession, created = ensure_authority(settings, CA_NAME, effects.now())
        if created:
            log.info("ca_created", path=str(settings.ca_directory), ca_sha256=succession.signer.ca_sha256)
        store = open_store(settings, succession.signer)
        store.ledger.follow(succession)
        try:
            uvloop.run(serve(Foundation(settings, store)))
        finally:
            store.close()


def with_ports(settings: Settings) -> Settings:
    """Agents are told the gateway's port before it listens, so a port that the kernel may choose is chosen here."""
    if settings.gateway_port:
        return settings
    with socket.create_server((settings.gateway_host, 0)) as probe:
        return settings.model_copy(update={"gateway_port": probe.getsockname()[1]})


async def serve(foundation: Foundation) -> None:
    """Everything on the event loop, until a signal."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as running:
        service = Service(foundation, open_hypervisor(foundation.settings))
        await service.start(running)
        service.beside("renewal", renew_daily(service), running)
        settle()
        announce(service)
        notify("READY=1")
        await stop.wait()
        notify("STOPPING=1")
        log.info("stopping")
    log.info("stopped")


async def renew_daily(service: Service) -> None:
    while True:
        await asyncio.sleep(RENEWAL_SECONDS)
        try:
            service.renew_certificates()
        except OpenNGTError as exc:  # a full disk may have space again tomorrow, and there are 45 days
            log.error("certificates_not_renewed", code=exc.code, reason=exc.message)


def announce(service: Service) -> None:
    """Where everything is, for the person who started it; no secret."""
    foundation = service.foundation
    settings = foundation.settings
    head = {"endpoint": service.endpoint, "gateway_port": service.gateway.port, "version": __version__}
    log.info("ready", **head, cluster_uuid=foundation.store.identity.cluster_uuid)
    sys.stdout.write(
        f"openngt {__version__}\n"
        f"admin API    {service.endpoint}\n"
        f"gateway      {settings.gateway_host} port {service.gateway.port}, agents are told {settings.cluster_ip}\n"
        f"console      {service.endpoint + '/console/' if settings.console else 'off'}\n"
        f"admin token  {settings.admin_token_file}\n"
        f"CA           {settings.ca_directory / 'ca.pem'}\n"
        f"CA SHA-256   {foundation.succession.signer.ca_sha256}\n"
    )
    python = service.parts.media.describe()["windows_python"]
    if python is not None:
        told = f"Python {python['version']} {python['architecture']}, SHA-256 {python['sha256']}"
        sys.stdout.write(f"for Windows  {told}\n")
    sys.stdout.flush()
