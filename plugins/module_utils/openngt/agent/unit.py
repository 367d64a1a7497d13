# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The texts that the installer writes for systemd and for people's shells."""

from .paths import Paths

__all__ = ["command_text", "is_ours", "unit_text", "upgrade_unit_text"]

# What the agent needs, and nothing else: write its configuration and /run/openngt, read the firmware's UUID, speak over
# a serial or virtio port, ask CD-ROM drives for their state, mount a disc where nobody else sees it (its own mount
# namespace), reach the service.
UNIT_TEXT = """\
# Written by openngt's installer; ngtcli and the playbooks know it by /usr/local/openngt/.
[Unit]
Description=Starts, stops Nutanix Guest Agent.
After=network.target
Wants=ngt_agent_upgrade.service
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={interpreter} -I -S {zipapp} run
Restart=always
RestartSec=5
WatchdogSec=60
TimeoutStopSec=10
UMask=0077
RuntimeDirectory=openngt
RuntimeDirectoryMode=0755

NoNewPrivileges=yes
CapabilityBoundingSet=CAP_SYS_ADMIN
ProtectSystem=strict
ReadWritePaths={config}
ProtectHome=read-only
PrivateTmp=yes
PrivateMounts=yes
DevicePolicy=closed
DeviceAllow=block-sr r
DeviceAllow=char-ttyS rw
DeviceAllow=char-ttyAMA rw
DeviceAllow=char-virtio-portsdev rw
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service @mount
SystemCallErrorNumber=EPERM
TasksMax=32

[Install]
WantedBy=multi-user.target
"""

# Puts an upgrade in place and takes it back when it does not hold its link. It starts whenever the agent does, at boot
# too, and has something to do only while an upgrade is under way; it runs the version that was proven last, so that a
# new one that does not even start cannot end it. It writes below the agent's folder and asks systemd, nothing else.
UPGRADE_UNIT_TEXT = """\
# Written by openngt's installer; ngtcli and the playbooks know it by /usr/local/openngt/.
[Unit]
Description=Upgrades Nutanix Guest Agent, and takes an upgrade back that fails.
ConditionPathExists=|{staged}
ConditionPathExists=|{trial}

[Service]
ExecStart={interpreter} -I -S {zipapp} upgrade
Restart=on-failure
RestartSec=5
UMask=0077
OOMScoreAdjust=-500

NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ReadWritePaths={home}
ProtectHome=yes
PrivateTmp=yes
PrivateNetwork=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
TasksMax=16
"""

COMMAND_TEXT = """\
#!/bin/sh
# Written by openngt's installer.
exec {interpreter} -I -S {zipapp} "$@"
"""


def _zipapp(paths: Paths) -> str:
    return "{0}/ngt_agent.pyz".format(paths.current)


def unit_text(paths: Paths, interpreter: str) -> str:
    """ngt_guest_agent.service"""
    return UNIT_TEXT.format(interpreter=interpreter, zipapp=_zipapp(paths), config=paths.config)


def upgrade_unit_text(paths: Paths, interpreter: str) -> str:
    """ngt_agent_upgrade.service"""
    return UPGRADE_UNIT_TEXT.format(
        interpreter=interpreter,
        zipapp="{0}/ngt_agent.pyz".format(paths.proven),
        staged=paths.staged_upgrade,
        trial=paths.trial,
        home=paths.home,
    )


def command_text(paths: Paths, interpreter: str) -> str:
    """ngtcli"""
    return COMMAND_TEXT.format(interpreter=interpreter, zipapp=_zipapp(paths))


def is_ours(text: str) -> bool:
    """Was this unit or command written by openngt, of this version or another?"""
    return "/openngt/" in text
