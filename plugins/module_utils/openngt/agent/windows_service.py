# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The agent as a Windows service: a process that answers the service control manager, and logs where Windows does."""

import ctypes
import logging
import logging.handlers
import os
import signal
import sys
import threading
from ctypes import byref, c_int, c_uint32, c_ushort, c_void_p, c_wchar_p
from typing import Any, Callable, List, Optional

from . import identity as identities
from .files import make_folder
from .paths import Paths
from .runtime_status import RuntimeStatus
from .service import Agent
from .version import __version__
from .waiter import Waiter
from .windows import windows_paths
from .windows_api import call, error
from .windows_files import sweep_pairs
from .windows_scm import EVENT_SOURCE, SERVICE

__all__ = ["EventLog", "Service", "main"]

# winsvc.h
SERVICE_WIN32_OWN_PROCESS = 0x10
STOPPED, START_PENDING, STOP_PENDING, RUNNING = 1, 2, 3, 4
ACCEPT_STOP, ACCEPT_SHUTDOWN = 0x1, 0x4
CONTROL_STOP, CONTROL_INTERROGATE, CONTROL_SHUTDOWN = 1, 4, 5
NO_ERROR, ERROR_CALL_NOT_IMPLEMENTED, ERROR_SERVICE_SPECIFIC = 0, 120, 1066
ERROR_FAILED_SERVICE_CONTROLLER_CONNECT = 1063
PENDING_MILLISECONDS = 30000

EVENTLOG_ERROR, EVENTLOG_WARNING = 1, 2
EVENT_ID = 1
MOST_EVENT = 30000

LOG_BYTES, LOG_FILES = 1 << 20, 5

log = logging.getLogger("openngt.agent")

_prototype: Any = getattr(ctypes, "WINFUNCTYPE", ctypes.CFUNCTYPE)
MAIN_FUNCTION = _prototype(None, c_uint32, c_void_p)
HANDLER_FUNCTION = _prototype(c_uint32, c_uint32, c_uint32, c_void_p, c_void_p)


class _Status(ctypes.Structure):
    """SERVICE_STATUS"""

    _fields_ = [
        (name, c_uint32)
        for name in ("kind", "state", "accepted", "exit_code", "specific_exit_code", "check_point", "wait_hint")
    ]


class _Entry(ctypes.Structure):
    """SERVICE_TABLE_ENTRYW"""

    _fields_ = [("name", c_wchar_p), ("main", MAIN_FUNCTION)]


class Service:
    """One service of this process. `work` runs until the given Waiter is stopped; its exit status is 0 or more."""

    def __init__(self, name: str, work: Callable[[Waiter, Callable[[], None]], int]) -> None:
        self._name = name
        self._work = work
        self._handle: Any = None
        self._waiter: Optional[Waiter] = None
        self._state = START_PENDING
        self._check_point = 0
        # ctypes does not keep them alive, and Windows calls them later.
        self._main = MAIN_FUNCTION(self._service_main)
        self._handler = HANDLER_FUNCTION(self._handle_control)

    def dispatch(self) -> bool:
        """Serve until the service has stopped; False when this process was not started by the service manager."""
        table = (_Entry * 2)(_Entry(self._name, self._main), _Entry(None, MAIN_FUNCTION()))
        if call("advapi32", "StartServiceCtrlDispatcherW", c_int, byref(table)):
            return True
        failure = error()
        if getattr(failure, "winerror", None) == ERROR_FAILED_SERVICE_CONTROLLER_CONNECT:
            return False
        raise failure

    def _service_main(self, _count: int, _arguments: Any) -> None:
        """Called by Windows in a thread of its own."""
        name = c_wchar_p(self._name)
        self._handle = call("advapi32", "RegisterServiceCtrlHandlerExW", c_void_p, name, self._handler, None)
        if not self._handle:
            return
        self._tell(START_PENDING)
        exit_status = 1
        try:
            self._waiter = Waiter()
            exit_status = self._work(self._waiter, lambda: self._tell(RUNNING))
        finally:
            # What was raised is logged by the thread's hook; the manager restarts the service by its failure actions.
            self._tell(STOPPED, exit_status)

    def _handle_control(self, control: int, _kind: int, _data: Any, _context: Any) -> int:
        if control in (CONTROL_STOP, CONTROL_SHUTDOWN):
            self._tell(STOP_PENDING)
            if self._waiter is not None:
                self._waiter.stop()
            return NO_ERROR
        if control == CONTROL_INTERROGATE:
            self._tell(self._state)
            return NO_ERROR
        return ERROR_CALL_NOT_IMPLEMENTED

    def _tell(self, state: int, exit_status: int = 0) -> None:
        pending = state in (START_PENDING, STOP_PENDING)
        self._state = state
        self._check_point = self._check_point + 1 if pending else 0
        status = _Status(
            SERVICE_WIN32_OWN_PROCESS,
            state,
            ACCEPT_STOP | ACCEPT_SHUTDOWN if state == RUNNING else 0,
            ERROR_SERVICE_SPECIFIC if exit_status else NO_ERROR,
            exit_status,
            self._check_point,
            PENDING_MILLISECONDS if pending else 0,
        )
        call("advapi32", "SetServiceStatus", c_int, c_void_p(self._handle), byref(status))


class EventLog(logging.Handler):
    """Warnings and errors in the log that an administrator of Windows looks at first."""

    def __init__(self) -> None:
        super(EventLog, self).__init__(logging.WARNING)
        source = c_wchar_p(EVENT_SOURCE)
        self._source = call("advapi32", "RegisterEventSourceW", c_void_p, None, source)
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))  # the log itself has the time

    def emit(self, record: logging.LogRecord) -> None:
        kind = EVENTLOG_ERROR if record.levelno >= logging.ERROR else EVENTLOG_WARNING
        texts = (c_wchar_p * 1)(self.format(record)[:MOST_EVENT])
        if self._source:
            what = (c_void_p(self._source), c_ushort(kind), c_ushort(0), c_uint32(EVENT_ID), None)
            call("advapi32", "ReportEventW", c_int, *(what + (c_ushort(1), c_uint32(0), texts, None)))


def main() -> int:
    """`ngt_agent.pyz run`: as a service, or in a console for who looks for a fault. Exit status 0."""
    paths = windows_paths()
    if Service(SERVICE, lambda waiter, ready: _serve(paths, waiter, ready, _log_handlers(paths))).dispatch():
        return 0
    waiter = Waiter()
    signal.signal(signal.SIGINT, lambda _number, _frame: waiter.stop())
    return _serve(paths, waiter, lambda: None, [logging.StreamHandler(sys.stderr)])


def _log_handlers(paths: Paths) -> List[logging.Handler]:
    make_folder(paths.run)
    folder = os.path.join(paths.run, "Logs")
    make_folder(folder, 0o700)
    path = os.path.join(folder, "agent.log")
    file = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
    return [file, EventLog()]


def _serve(paths: Paths, waiter: Waiter, ready: Callable[[], None], handlers: List[logging.Handler]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", handlers=handlers)
    threading.excepthook = _log_exception  # Python 3.8, which is the oldest that an installation carries
    try:
        sweep_pairs()
        identities.sweep_unfinished(paths)
        agent = Agent(paths, waiter, RuntimeStatus(paths))
        agent.watch_discs()
        ready()
        log.info("agent %s started", __version__)
        agent.run()
        log.info("agent stopped")
        return 0
    except BaseException:
        log.exception("the agent ends")
        raise
    finally:
        for handler in handlers:
            logging.getLogger().removeHandler(handler)
            handler.close()


def _log_exception(raised: Any) -> None:
    log.error("in thread %s", raised.thread, exc_info=(raised.exc_type, raised.exc_value, raised.exc_traceback))
