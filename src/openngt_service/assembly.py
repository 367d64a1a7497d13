# SPDX-License-Identifier: GPL-3.0-or-later
"""How the parts of the service are put together. Nothing here decides anything: it hands each part the others."""

import asyncio
import datetime
import shutil
import uuid
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import structlog
from prometheus_client import CollectorRegistry, Gauge, Info
from sqlalchemy import Connection, text

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.iso.tools_iso import Cluster
from openngt.pki.rollover import Succession
from openngt.version import __version__

from .api.application import create_api
from .api.context import ApiContext
from .api.server import ApiServer
from .config import Settings
from .fleet_metrics import FleetMetrics, exposition, numbers_of_vms
from .gateway.limits import Limits
from .gateway.metrics import GatewayMetrics
from .gateway.serial_listener import PortAddress, SerialListener
from .gateway.server import Gateway, GatewaySettings
from .gateway.tls import server_context
from .health.checks import DiskUse, Facts
from .health.health import Health
from .health.readiness import Readiness
from .health.runner import HealthRunner
from .hypervisors.base import Hypervisor
from .service_certificates import api_names, renew_certificates
from .store.customizations import CustomizedState
from .store.opening import Store
from .tasks.background import Background
from .tasks.ca_rollover import CaRollover
from .tasks.ca_rollover_plan import advise
from .tasks.discs import Discs
from .tasks.engine import TaskEngine
from .tasks.hypervisor import PatientHypervisor
from .tasks.links import Links
from .tasks.media import Media
from .tasks.parts import Parts
from .tasks.refresh_plan import HOLDER as REFRESHES
from .tasks.upgrade_plan import HOLDER as UPGRADES

__all__ = ["Foundation", "Service"]

log = structlog.get_logger(__name__)

HEALTH_PAGE = 1000
NO_VM = str(uuid.UUID(int=0))
IDENTITY_CHECKS = ("ngt_duplicate_identity_check", "ngt_identity_recovery_check")
NEWS_SECONDS = 2.0
"""However fast news of identities come, they are judged this often."""
PORT_NAMES = {"serial": "serial port 1", "virtio": "virtio port"}
ENDPOINT_FILE = "api.endpoint"


@dataclass(frozen=True)
class Foundation:
    """What there is before the event loop runs."""

    settings: Settings
    store: Store

    @property
    def succession(self) -> Succession:
        return self.store.ledger.succession

    def cluster(self) -> Cluster:
        """Where agents find this service, and whom they trust."""
        assert self.settings.cluster_ip is not None, "Settings.for_serving has seen to it"
        return Cluster(
            cluster_uuid=self.store.identity.cluster_uuid,
            cluster_ip=self.settings.cluster_ip,
            port=self.settings.gateway_port,
            ca_pem=self.succession.handed_pem,
            serial_ports=tuple(self.settings.serial_ports),
            preferred_transport=self.settings.preferred_transport,
        )

    def describe_ca(self) -> dict[str, Any]:
        signer, other = self.succession.signer, self.succession.other_sha256
        return {
            "ca_pem": self.succession.trusted_pem.decode(),
            "ca_sha256": signer.ca_sha256,
            "trusted_ca_sha256": [signer.ca_sha256] + ([] if other is None else [other]),
            "not_after": signer.not_after,
            "key_type": signer.info.key_type,
            "cluster_uuid": self.store.identity.cluster_uuid,
            "service_name": self.store.identity.service_name,
        }


class Service:
    """The parts on the event loop; built and used on it."""

    def __init__(self, foundation: Foundation, adapter: Hypervisor) -> None:
        settings, store = foundation.settings, foundation.store
        self.foundation = foundation
        self.adapter = adapter
        self.certificates = renew_certificates(
            settings, foundation.succession, store.identity.service_name, effects.now()
        )
        self.metrics = CollectorRegistry()
        self.links = Links(store.links, store.registry, store.sightings)
        self.gateway = self._make_gateway()
        self.parts = Parts(
            settings=settings,
            store=store,
            hypervisor=PatientHypervisor(adapter),
            media=Media(settings, foundation.cluster()),
            discs=Discs(settings.discs_directory),
            gateway=self.gateway,
            engine=TaskEngine(store.tasks, in_flight=settings.tasks_in_flight),
        )
        self.serial = SerialListener(self.gateway, self._serial_ports)
        self.background = Background(self.parts, self.links)
        self.rollover = CaRollover(self.parts, self._serve_with)
        self.started: datetime.datetime | None = None
        self.health = self._make_health()
        self.context = self._make_context()
        self.api = ApiServer(
            create_api(self.context), host=settings.api_host, port=settings.api_port, certificate=settings.api_pem
        )
        self._loops: list[asyncio.Task[None]] = []
        self._count()

    @property
    def endpoint(self) -> str:
        """How a caller on this host reaches the API."""
        host, port = self.api.address
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not bound
        return f"https://[{here}]:{port}" if ":" in here else f"https://{here}:{port}"

    async def start(self, running: AsyncExitStack) -> None:
        """Start the parts; each one's stop goes on the stack, so that a failure half-way stops what runs."""
        running.push_async_callback(self.adapter.close)
        settings, store = self.foundation.settings, self.foundation.store
        await store.load()
        await store.tokens.ensure_admin(settings.admin_token_file)
        running.push_async_callback(self.background.stop)
        await self.background.start()
        running.push_async_callback(self.serial.stop)  # after the gateway's goodbyes
        running.push_async_callback(self.gateway.stop)
        await self.gateway.start()
        if settings.serial_ports:
            self.beside("serial", self.serial.run(), running)
        self.started = effects.now()
        self.beside("health", self.health.runner.run_forever(settings.health_interval_seconds), running)
        self.beside("identities", self._judge_identities(), running)
        running.push_async_callback(self.api.stop)
        running.callback(self.context.stopping.set)
        await self.api.start()
        effects.replace_file(str(settings.state_dir / ENDPOINT_FILE), f"{self.endpoint}\n".encode())

    def beside(self, name: str, work: Coroutine[Any, Any, None], running: AsyncExitStack) -> None:
        """Run a loop until the service stops; one that ends before that is a defect, which readiness shows."""
        loop = asyncio.create_task(work, name=name)
        loop.add_done_callback(self._report)
        self._loops.append(loop)
        running.callback(loop.cancel)

    def _report(self, loop: asyncio.Task[None]) -> None:
        if not loop.cancelled():
            log.error("loop_ended", loop=loop.get_name(), exc_info=loop.exception())

    async def look(self) -> Facts:
        """What the health checks are judged on."""
        vms: list[dict[str, Any]] = []
        page_token = None
        while True:
            page = await self.background.operations.vms(limit=HEALTH_PAGE, page_token=page_token)
            vms += page["items"]
            page_token = page["next_page_token"]
            if page_token is None:
                break
        settings = self.foundation.settings
        return Facts(
            now=effects.now(),
            vms=vms,
            iso_files=sorted(await self.parts.media.of_vms()),
            certificates=dict(self.certificates),
            started=self.started,
            sightings=self.foundation.store.sightings.all(),
            clones=list(self.background.clones.all.values()),
            duplicates=self.background.clones.duplicates,
            recoveries=list(self.background.recovery.attempts.values()),
            disks=await asyncio.to_thread(disk_use, (settings.state_dir, settings.iso_directory)),
            customizations=self.foundation.store.customizations.all(),
            ca_advice=advise(self.foundation.succession, effects.now()),
        )

    async def _judge_identities(self) -> None:
        """Who works at night hears of a copy within seconds, and not with the next round."""
        news = self.background.identity_news
        while True:
            await news.wait()
            news.clear()
            try:
                await self.health.runner.run(IDENTITY_CHECKS)
            except OpenNGTError as exc:
                log.warning("health_not_checked", code=exc.code, reason=exc.message)
            await asyncio.sleep(NEWS_SECONDS)

    def renew_certificates(self) -> None:
        """Replace server certificates that end soon; new connections get the new ones."""
        self._serve_with(self.foundation.succession)

    def _serve_with(self, succession: Succession) -> None:
        """New connections are shown certificates of the CA that signs, and judged by the CAs of the folder."""
        settings = self.foundation.settings
        service_name = self.foundation.store.identity.service_name
        self.certificates = renew_certificates(settings, succession, service_name, effects.now())
        self.api.reload()
        # Another context, for a CA that is trusted no more cannot be taken out of one.
        self.gateway.context = server_context(settings.gateway_pem, settings.ca_directory / "ca.pem")

    def _make_health(self) -> Health:
        settings, store = self.foundation.settings, self.foundation.store
        history = datetime.timedelta(days=settings.health_history_days)
        return Health(
            HealthRunner(self.look, store.health, self.metrics, history=history),
            store.health,
            store.registry,
            self.parts.engine,
            node=settings.cluster_ip or "",
            cluster_uuid=store.identity.cluster_uuid,
            interval_seconds=settings.health_interval_seconds,
        )

    def _make_gateway(self) -> Gateway:
        settings = self.foundation.settings
        limits = Limits(heartbeat_seconds=settings.heartbeat_seconds, **settings.gateway.model_dump())
        return Gateway(
            GatewaySettings(
                cluster_uuid=self.foundation.store.identity.cluster_uuid,
                service_version=__version__,
                host=settings.gateway_host,
                port=settings.gateway_port,
                limits=limits,
            ),
            server_context(settings.gateway_pem, settings.ca_directory / "ca.pem"),
            self.foundation.store.ledger,
            self.links,
            GatewayMetrics(self.metrics),
        )

    async def _serial_ports(self) -> list[PortAddress]:
        """Those of the enrolled VMs, of their clones, so that a copy shows itself, and of VMs at their customization.

        Of VMs that share a UUID none: nobody could tell whose port it is.
        """
        channels = await self.parts.hypervisor.serial_channels()
        clones, enrolled = self.background.clones, self.foundation.store.registry.get
        customized = {row.vm_uuid for row in self.foundation.store.customizations.all() if row.live}
        return [
            PortAddress(vm_uuid, PORT_NAMES[channel.kind], channel.socket)
            for vm_uuid, of_vm in channels.items()
            if (enrolled(vm_uuid) is not None or vm_uuid in clones.all or vm_uuid in customized)
            and vm_uuid not in clones.duplicates
            for channel in of_vm
        ]

    def _make_context(self) -> ApiContext:
        settings = self.foundation.settings
        readiness = Readiness(
            {
                "database": self._probe_database,
                "gateway": self._probe_gateway,
                "ca": self._probe_ca,
                "hypervisor": self._probe_hypervisor,
                "background": self._probe_background,
            }
        )
        return ApiContext(
            operations=self.background.operations,
            tokens=self.foundation.store.tokens,
            audit=self.foundation.store.audit,
            health=self.health,
            ca=self.foundation.describe_ca,
            payload=self.parts.media.describe,
            rollover=self.rollover,
            ready=readiness.check,
            metrics=self.metrics,
            vm_metrics=self._vm_metrics,
            metrics_public=settings.metrics_public,
            console_names=frozenset(api_names(settings)) if settings.console else frozenset(),
        )

    async def _probe_database(self) -> None:
        def read(connection: Connection) -> object:
            return connection.execute(text("SELECT 1")).scalar_one()

        await self.foundation.store.database.read(read)

    async def _probe_gateway(self) -> None:
        if not self.gateway.port:
            raise OpenNGTError("SERVICE_CONFLICT", "the gateway does not listen")

    async def _probe_ca(self) -> None:
        if self.foundation.succession.signer.not_after <= effects.now():
            raise OpenNGTError("CA_EXPIRED", "the CA has expired")

    async def _probe_hypervisor(self) -> None:
        """Whether the adapter answers at all. A list of all VMs would take as long as the slowest of them."""
        await self.parts.hypervisor.find(NO_VM)

    async def _probe_background(self) -> None:
        if not self.background.alive or any(loop.done() for loop in self._loops):
            raise OpenNGTError("INTERNAL", "a background loop has ended")

    def _count(self) -> None:
        """Numbers that are looked up when they are asked for."""
        store, registry = self.foundation.store, self.metrics
        Info("openngt_build", "What runs.", registry=registry).info({"version": __version__})
        Gauge("openngt_vms_enrolled", "VMs with guest tools enabled.", registry=registry).set_function(
            lambda: len(store.registry.all())
        )
        Gauge("openngt_mounts", "Tools ISOs in a drive, or on the way.", registry=registry).set_function(
            lambda: len(store.mounts.all())
        )
        customizations = Gauge(
            "openngt_customizations", "VMs that were given a customization.", ("state",), registry=registry
        )
        for state in get_args(CustomizedState):
            customizations.labels(state).set_function(partial(self._customized, state))
        expires = Gauge(
            "openngt_certificate_expires_seconds", "End of our own certificates, Unix time.", ("of",), registry=registry
        )
        for name in self.certificates:
            expires.labels(name).set_function(partial(self._end_of, name))
        fleet = FleetMetrics(registry, self.links.sessions, store.ledger.entry, frozenset({REFRESHES, UPGRADES}))
        self.parts.engine.on_ended = fleet.task_ended
        store.mounts.on_removed = fleet.mount_ended

    async def _vm_metrics(self) -> bytes:
        store = self.foundation.store
        vms = numbers_of_vms(store.registry.all(), store.ledger.all_live(), self.links.sessions())
        return await asyncio.to_thread(exposition, vms, self.health.runner.results)

    def _customized(self, state: CustomizedState) -> int:
        return sum(row.state == state for row in self.foundation.store.customizations.all())

    def _end_of(self, name: str) -> float:
        return self.certificates[name].timestamp()


def disk_use(folders: Iterable[Path]) -> dict[str, DiskUse]:
    """By folder; those on one file system are told once. One that is not there yet is left out. Blocking."""
    found: dict[int, tuple[str, DiskUse]] = {}
    for folder in folders:
        with effects.file_errors(str(folder)):
            if folder.is_dir():
                usage = shutil.disk_usage(folder)
                found.setdefault(folder.stat().st_dev, (str(folder), DiskUse(usage.free, usage.total)))
    return dict(found.values())
