# SPDX-License-Identifier: GPL-3.0-or-later
"""WS-Management's envelopes as MS-WSMV and Windows write them: what a request asks for, and the answers to it."""

from __future__ import annotations

import base64
import re
import uuid
import xml.etree.ElementTree as ET
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

__all__ = ["Request", "answer", "command_answer", "created", "fault", "identified", "output", "parse"]

SOAP = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
WSMAN_FAULT = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
IDENTITY = "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"
RUNNING, DONE = (f"{SHELL}/CommandState/{state}" for state in ("Running", "Done"))

HEAD = f'<s:Envelope xmlns:s="{SOAP}" xmlns:a="{ADDRESSING}" xmlns:w="{WSMAN}" xmlns:rsp="{SHELL}" xml:lang="en-US">'


class Request(NamedTuple):
    """What a client asks for. `action` is the last part of its URI, or `Identify`."""

    action: str
    message_id: str
    shell: str | None
    seconds: float
    """Its OperationTimeout."""
    options: dict[str, str]
    body: ET.Element

    def find(self, name: str) -> ET.Element | None:
        return self.body.find(f".//{{{SHELL}}}{name}")

    def text(self, name: str) -> str:
        """The texts of all elements of a name, as cmd.exe gets a command and its arguments."""
        return " ".join(each.text or "" for each in self.body.iter(f"{{{SHELL}}}{name}"))


def parse(content: bytes) -> Request:
    """ValueError or ET.ParseError for what is no envelope."""
    envelope = ET.fromstring(content)
    header, body = envelope.find(f"{{{SOAP}}}Header"), envelope.find(f"{{{SOAP}}}Body")
    if body is None:
        raise ValueError("no body")
    if body.find(f"{{{IDENTITY}}}Identify") is not None:
        return Request("Identify", "", None, 60.0, {}, body)
    if header is None:
        raise ValueError("no header")
    action = header.findtext(f"{{{ADDRESSING}}}Action", "")
    selectors = {each.get("Name"): each.text for each in header.iter(f"{{{WSMAN}}}Selector")}
    return Request(
        action.rpartition("/")[2],
        header.findtext(f"{{{ADDRESSING}}}MessageID", ""),
        selectors.get("ShellId"),
        seconds(header.findtext(f"{{{WSMAN}}}OperationTimeout", "PT60S")),
        {each.get("Name", ""): each.text or "" for each in header.iter(f"{{{WSMAN}}}Option")},
        body,
    )


def seconds(duration: str) -> float:
    """`PT20S` and `PT1M30.000S`; that is all that clients send."""
    match = re.fullmatch(r"PT(?:(\d+)M)?(?:([\d.]+)S)?", duration)
    if match is None:
        raise ValueError(f"not a duration: {duration}")
    return 60.0 * int(match[1] or 0) + float(match[2] or 0)


def answer(request: Request, action: str, body: str) -> bytes:
    return (
        f"{HEAD}<s:Header><a:Action>{action}</a:Action><a:MessageID>uuid:{str(uuid.uuid4()).upper()}</a:MessageID>"
        f"<a:To>{ADDRESSING}/role/anonymous</a:To><a:RelatesTo>{escape(request.message_id)}</a:RelatesTo></s:Header>"
        f"<s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def identified() -> bytes:
    return (
        f'<s:Envelope xmlns:s="{SOAP}"><s:Header/><s:Body><wsmid:IdentifyResponse xmlns:wsmid="{IDENTITY}">'
        f"<wsmid:ProtocolVersion>{WSMAN}</wsmid:ProtocolVersion>"
        "<wsmid:ProductVendor>openngt tests</wsmid:ProductVendor>"
        "<wsmid:ProductVersion>Simulator</wsmid:ProductVersion></wsmid:IdentifyResponse></s:Body></s:Envelope>"
    ).encode()


def created(request: Request, shell: str) -> bytes:
    body = (
        f'<x:ResourceCreated xmlns:x="{TRANSFER}"><a:Address>https://guest:5986/wsman</a:Address><a:ReferenceParameters>'
        f"<w:ResourceURI>{SHELL}/cmd</w:ResourceURI><w:SelectorSet>"
        f'<w:Selector Name="ShellId">{shell}</w:Selector></w:SelectorSet></a:ReferenceParameters></x:ResourceCreated>'
        f"<rsp:Shell><rsp:ShellId>{shell}</rsp:ShellId><rsp:InputStreams>stdin</rsp:InputStreams>"
        "<rsp:OutputStreams>stdout stderr</rsp:OutputStreams></rsp:Shell>"
    )
    return answer(request, f"{TRANSFER}/CreateResponse", body)


def command_answer(request: Request, command: str) -> bytes:
    body = f"<rsp:CommandResponse><rsp:CommandId>{command}</rsp:CommandId></rsp:CommandResponse>"
    return answer(request, f"{SHELL}/CommandResponse", body)


def output(request: Request, command: str, streams: list[tuple[str, bytes]], exit_status: int | None) -> bytes:
    """An answer to Receive; each piece is a Stream element of its own, as Windows cuts them."""
    parts = [
        f'<rsp:Stream Name="{name}" CommandId="{command}">{base64.b64encode(piece).decode()}</rsp:Stream>'
        for name, piece in streams
    ]
    state = RUNNING if exit_status is None else DONE
    ended = "" if exit_status is None else f"<rsp:ExitCode>{exit_status}</rsp:ExitCode>"
    if exit_status is not None:
        ends = ("stdout", "stderr")
        parts += [f'<rsp:Stream Name="{name}" CommandId="{command}" End="true"></rsp:Stream>' for name in ends]
    parts.append(f'<rsp:CommandState CommandId="{command}" State="{state}">{ended}</rsp:CommandState>')
    return answer(request, f"{SHELL}/ReceiveResponse", f"<rsp:ReceiveResponse>{''.join(parts)}</rsp:ReceiveResponse>")


def fault(request: Request | None, code: int, text: str, subcode: str) -> bytes:
    """A fault with the number of wsmerror.h that clients go by."""
    relates = f"<a:RelatesTo>{escape(request.message_id)}</a:RelatesTo>" if request is not None else ""
    return (
        f"{HEAD}<s:Header><a:Action>{WSMAN}/fault</a:Action><a:MessageID>uuid:{str(uuid.uuid4()).upper()}</a:MessageID>"
        f"{relates}</s:Header><s:Body><s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>{subcode}</s:Value>"
        f'</s:Subcode></s:Code><s:Reason><s:Text xml:lang="en-US">{escape(text)}</s:Text></s:Reason><s:Detail>'
        f'<f:WSManFault xmlns:f="{WSMAN_FAULT}" Code="{code}" Machine={quoteattr("guest")}>'
        f"<f:Message>{escape(text)}</f:Message></f:WSManFault></s:Detail></s:Fault></s:Body></s:Envelope>"
    ).encode()
