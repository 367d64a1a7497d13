# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt ca`: make a CA without a service, look at one, hand its certificate on, adopt what it has issued."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.pki.authority import CA_VALIDITY, load_ca_certificate
from openngt.pki.ensure_ca import WantedCa, ensure_ca
from openngt.pki.inspect import CertificateInfo, describe_certificate
from openngt.pki.key_types import KeyType

from . import ca_rollover
from .connect import connect, read_file
from .output import Column, Form, Output, show

__all__ = ["app"]

app = typer.Typer(help="The certificate authority.", no_args_is_help=True)
app.add_typer(ca_rollover.app, name="rollover")

Folder = Annotated[Path | None, typer.Option("--path", help="A CA's folder; without it the service is asked.")]

COLUMNS = [
    Column("CA SHA-256", lambda c: c["ca_sha256"]),
    Column("Not After", lambda c: c["not_after"]),
    Column("Key Type", lambda c: c["key_type"]),
]
SERVICE_COLUMNS = [
    *COLUMNS,
    Column("Cluster UUID", lambda c: c["cluster_uuid"]),
    Column("Service Name", lambda c: c["service_name"]),
]


def described(info: CertificateInfo) -> dict[str, Any]:
    return {"ca_sha256": info.sha256, "not_after": info.not_after, "key_type": info.key_type}


def passphrase_of(file: Path | None) -> bytes | None:
    return None if file is None else read_file(file).encode()


@app.command()
def create(
    path: Annotated[Path, typer.Option(help="Folder of the CA; one that holds the same CA is left as it is.")],
    common_name: Annotated[str | None, typer.Option()] = None,
    key_type: Annotated[KeyType | None, typer.Option()] = None,
    validity_days: Annotated[int, typer.Option()] = CA_VALIDITY.days,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="The key is encrypted with what this file holds.")
    ] = None,
    output: Output = Form.table,
) -> None:
    """Make a CA: ca.pem and ca.key (0600). For guests without a service, or to be taken over by one."""
    wanted = WantedCa(path.absolute(), common_name, key_type, validity_days, passphrase_of(passphrase_file))
    outcome = ensure_ca(wanted, check=False, now=effects.now())
    sys.stderr.write(f"CA {'created' if outcome.changed else 'exists'}: {path}\n")
    show(outcome.ca, COLUMNS, output)


@app.command("show")
def show_ca(
    context: typer.Context,
    path: Folder = None,
    pem: Annotated[bool, typer.Option("--pem", help="Every CA that clients have to trust now, as export.")] = False,
    output: Output = Form.table,
) -> None:
    """The fingerprint that agents pin, and the end of the CA."""
    if pem:
        export(context)
        return
    if path is not None:
        show(described(describe_certificate(load_ca_certificate(path))), COLUMNS, output)
        return
    with connect(context) as client:
        show(client.ca(), SERVICE_COLUMNS, output)


@app.command()
def export(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="Where to write it; without: stdout.")] = None,
) -> None:
    """The CA's certificate in PEM form, for OPENNGT_CA_FILE of another host; both while one follows another."""
    with connect(context) as client:
        pem: str = client.ca()["ca_pem"]
    if file is None:
        sys.stdout.write(pem)
    else:
        effects.replace_file(str(file), pem.encode())


@app.command()
def adopt(
    context: typer.Context,
    issue_log: Annotated[Path, typer.Argument(help="issued.jsonl, or the CA folder that holds it.")],
    output: Output = Form.table,
) -> None:
    """Take up certificates that the service's CA has signed without the service."""
    file = issue_log / "issued.jsonl" if issue_log.is_dir() else issue_log
    lines = complete_lines(file)
    with connect(context) as client:
        refuse_foreign_ca(file.parent, client.ca())
        answer: Mapping[str, Any] = client.adopt(lines)
    show(answer, [Column("Adopted", lambda a: a["adopted"]), Column("Known", lambda a: a["known"])], output)


def refuse_foreign_ca(folder: Path, ca: Mapping[str, Any]) -> None:
    """The log does not say who signed, the CA beside it does; agents of another CA would be enrolled and kept out."""
    if not (folder / "ca.pem").exists():
        return
    theirs = describe_certificate(load_ca_certificate(folder)).sha256
    if theirs not in ca["trusted_ca_sha256"]:
        raise OpenNGTError(
            "INVALID_INPUT",
            f"the certificates in {folder} are of the CA {theirs}, the service's CA is {ca['ca_sha256']}",
            {"ca_sha256": theirs, "service_ca_sha256": ca["ca_sha256"]},
            remedy=f"start a new service with that CA: copy {folder} to <state_dir>/ca before its first start",
        )


def complete_lines(file: Path) -> list[str]:
    """A last line without its end belongs to a certificate that was never handed out."""
    try:
        *lines, _torn = file.read_text(encoding="utf-8").split("\n")
    except OSError as exc:
        raise OpenNGTError("INVALID_INPUT", f"{file} cannot be read: {exc.strerror}") from exc
    return lines
