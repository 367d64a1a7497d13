# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent as an RPM package, put together by `rpmbuild`."""

from pathlib import Path

from .contents import AGENT, CONFFILE, HOMEPAGE, MAINTAINER, NAME, SUMMARY, Contents, script
from .programs import checked, lay_out

__all__ = ["build_rpm", "rpm_name"]

# rpm knows no purge: what is erased leaves nothing behind, the identity neither.
SPEC = """\
Name: {name}
Version: {version}
Release: {revision}
Summary: {summary}
License: GPL-3.0-or-later
URL: {homepage}
BuildArch: noarch
AutoReqProv: no
Requires: python3 >= 3.6
Requires: systemd
Requires: tar
Requires(post): python3, systemd
Requires(preun): python3, systemd

%description
Keeps a link to the Guest Tools Service: certificates, power, upgrades.

For images and templates: it has no identity and takes one from the tools
disc that the service mounts in each VM that is made from them.

%install
cp -a "{stage}/." "%{{buildroot}}"

%files
%defattr(0644, root, root, 0755)
%dir /usr/lib/openngt
/{agent}
%dir /etc/openngt
%config(noreplace) /{conffile}
%doc /usr/share/doc/{name}

%post
{post}
%preun
{preun}
%changelog
* {date:%a %b %d %Y} {maintainer} - {version}-{revision}
- Agent of openngt
"""

POST = script("agent install\n")
PREUN = script(
    """\
[ "$1" -ne 0 ] || agent purge
"""
)

# Nothing of the host that builds, and no step of its distribution's policy; gzip, because every rpm reads it.
MACROS = {
    "_build_id_links": "none",
    "_buildhost": "reproducible",
    "_source_payload": "w9.gzdio",
    "_binary_payload": "w9.gzdio",
    "__os_install_post": "%{nil}",
    "_build_name_fmt": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
    "_docdir": "/usr/share/doc",
    "use_source_date_epoch_as_buildtime": "1",
    "clamp_mtime_to_source_date_epoch": "1",
    "source_date_epoch_from_changelog": "0",
    "vendor": "%{nil}",
    "distribution": "%{nil}",
}


def rpm_name(found: Contents) -> str:
    return f"{NAME}-{found.version}-{found.revision}.noarch.rpm"


def build_rpm(found: Contents, work: Path) -> Path:
    """Below `work`, an empty folder. COMMAND_NOT_FOUND, COMMAND_FAILED."""
    stage, spec = work / "stage", work / f"{NAME}.spec"
    lay_out(stage, found.files, found.epoch)
    spec.write_text(
        SPEC.format(
            name=NAME,
            version=found.version,
            revision=found.revision,
            summary=SUMMARY,
            homepage=HOMEPAGE,
            maintainer=MAINTAINER,
            stage=stage,
            agent=AGENT,
            conffile=CONFFILE,
            post=as_scriptlet(POST),
            preun=as_scriptlet(PREUN),
            date=found.date,
        )
    )
    macros = {**MACROS, "_topdir": str(work / "top"), "_tmppath": str(work), "_rpmdir": str(work)}
    defined = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
    checked(["rpmbuild", "-bb", "--target", "noarch", *defined, str(spec)], found.epoch, home=work)
    return work / rpm_name(found)


def as_scriptlet(text: str) -> str:
    """rpm names the shell itself, and takes a percent sign for a macro."""
    return text.partition("\n")[2].replace("%", "%%")
