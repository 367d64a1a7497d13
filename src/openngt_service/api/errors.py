# SPDX-License-Identifier: GPL-3.0-or-later
"""From an error's code to the status of its answer: the one table, and the handlers that use it."""

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from openngt.errors import REMEDIES, OpenNGTError

from .ids import MUST_BE

__all__ = ["STATUS", "answer_error", "install_error_handlers", "status_of"]

log = structlog.get_logger(__name__)

# What the request itself, what stands in its way, what somebody else did wrong, and what this service did wrong.
STATUS: dict[str, int] = {
    "CERTIFICATE_INVALID": 400,
    "INVALID_INPUT": 400,
    "ISSUE_LOG_DAMAGED": 400,
    "CUSTOMIZATION_INVALID": 400,
    "AUTHENTICATION_FAILED": 401,
    "FORBIDDEN": 403,
    "NOT_ENROLLED": 404,
    "NOT_FOUND": 404,
    "VM_NOT_FOUND": 404,
    "CA_EXISTS": 409,
    "CA_ROLLOVER_BLOCKED": 409,
    "AGENT_NOT_INSTALLED": 409,
    "CERTIFICATE_EXPIRED": 409,
    "CUSTOMIZATION_CONFLICT": 409,
    "DISC_EXPIRED": 409,
    "DISC_INVALID": 409,
    "DISC_NOT_FOUND": 409,
    "DISC_OF_ANOTHER_VM": 409,
    "DISK_UNSUPPORTED": 409,
    "DOWNGRADE_REFUSED": 409,
    "DRIVE_BUSY": 409,
    "DRIVE_LOCKED": 409,
    "IDEMPOTENCY_MISMATCH": 409,
    "ISO_TOO_LARGE": 409,
    "LINK_NOT_ACTIVE": 409,
    "METHOD_BLOCKED": 409,
    "NO_EMPTY_DRIVE": 409,
    "NO_SUCH_CARD": 409,
    "POWER_UNSUPPORTED": 409,
    "SERVICE_CONFLICT": 409,
    "TASK_CANCELLED": 409,
    "TASK_NOT_CANCELLABLE": 409,
    "UPGRADE_UNDER_WAY": 409,
    "VERSION_UNSUPPORTED": 409,
    "VM_AMBIGUOUS": 409,
    "VM_BUSY": 409,
    "VM_PAUSED": 409,
    "VM_POWERED_OFF": 409,
    "VM_POWERED_ON": 409,
    "RATE_LIMITED": 429,
    "API_ERROR": 500,
    "CA_EXPIRED": 500,
    "CA_NOT_FOUND": 500,
    "CA_PASSPHRASE_WRONG": 500,
    "CLOCK_WENT_BACK": 500,
    "COMMAND_FAILED": 500,
    "COMMAND_NOT_FOUND": 500,
    "COMMAND_TIMED_OUT": 500,
    "CONFIG_INVALID": 500,
    "INTERNAL": 500,
    "BACKUP_DAMAGED": 500,
    "FILE_UNUSABLE": 500,
    "LIBRARY_MISSING": 500,
    "PERMISSION_DENIED": 500,
    "STORE_FAILED": 500,
    "TASK_FAILED": 500,
    "AGENT_FAILED": 502,
    "AGENT_TOO_OLD": 502,
    "UPGRADE_INVALID": 502,
    "UPGRADE_ROLLED_BACK": 502,
    "CUSTOMIZATION_FAILED": 502,
    "HYPERVISOR_FAILED": 502,
    "ACPI_IGNORED": 504,
    "AGENT_TIMED_OUT": 504,
    "CUSTOMIZATION_TIMED_OUT": 504,
    "GUEST_NOT_BACK": 504,
    "GUEST_STILL_RUNS": 504,
    "TASK_TIMED_OUT": 504,
    "NO_SPACE": 507,
}

# A status that the web framework decides on its own -> the code that goes with it.
FRAMEWORK_CODES = {404: "NOT_FOUND", 405: "INVALID_INPUT", 413: "INVALID_INPUT"}


def status_of(code: str) -> int:
    return STATUS.get(code, 500)


def answer_error(request: Request, error: OpenNGTError, status: int | None = None) -> JSONResponse:
    """The error in the form of the API, with the id under which the log has it."""
    status = status_of(error.code) if status is None else status
    body = {**error.to_dict(), "request_id": getattr(request.state, "request_id", None)}
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}
    return JSONResponse({"error": body}, status, headers)


def place_of(found: dict[str, Any]) -> str:
    """`body.capabilities.vss_snapshot` -> `capabilities.vss_snapshot`: the name that the caller wrote."""
    names = [str(part) for part in found["loc"]]
    is_whole = found["type"] == "json_invalid"  # its second part is a position in the text
    return names[0] if is_whole or len(names) == 1 else ".".join(names[1:])


def reason_of(found: dict[str, Any]) -> str:
    return MUST_BE.get(found.get("ctx", {}).get("pattern"), str(found["msg"]))


def invalid_input(error: RequestValidationError) -> OpenNGTError:
    """Every bad field at once, by name and reason; never the value, which may be a secret in the wrong place."""
    problems = [{"field": place_of(found), "message": reason_of(found)} for found in error.errors()]
    text = "; ".join(f"{problem['field']}: {problem['message']}" for problem in problems[:5])
    return OpenNGTError("INVALID_INPUT", text, {"problems": problems})


def install_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(OpenNGTError)
    async def ours(request: Request, error: OpenNGTError) -> JSONResponse:
        return answer_error(request, error)

    @app.exception_handler(RequestValidationError)
    async def validation(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer_error(request, invalid_input(error))

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> JSONResponse:
        code = FRAMEWORK_CODES.get(error.status_code, "INVALID_INPUT" if error.status_code < 500 else "INTERNAL")
        message = f"{request.method} {request.url.path}: {error.detail}"
        answer = answer_error(request, OpenNGTError(code, message), error.status_code)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> JSONResponse:
        """Starlette raises the exception again after this answer, so the server's log has the traceback."""
        message = f"{request.method} {request.url.path} failed: {type(error).__name__}"
        return answer_error(request, OpenNGTError("INTERNAL", message))


assert set(STATUS) <= set(REMEDIES), f"no such code: {set(STATUS) - set(REMEDIES)}"
