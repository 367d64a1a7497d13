# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on Python 3.6 and newer, standard library only.
"""A Windows for one process: `become` takes away what only POSIX has and puts Windows' own functions in its place.

The agent's ctypes calls are real: what is played is what stands behind the DLLs, over a folder and in memory. Its paths
keep their slash, which is all that a process on another system cannot change.
"""

# All of the standard library that would ask what system this is comes before the answer changes.
import argparse  # noqa: F401
import atexit
import ctypes
import errno
import importlib.abc
import logging.handlers  # noqa: F401
import os
import pathlib  # noqa: F401
import platform  # noqa: F401
import random  # noqa: F401
import selectors  # noqa: F401
import shutil  # noqa: F401
import socket
import ssl  # noqa: F401
import struct
import subprocess  # noqa: F401
import sys
import tempfile
import threading
import types
import unittest.mock  # noqa: F401
import uuid

POSIX_ONLY = ("fcntl", "termios", "tty", "pty", "pwd", "grp", "resource")
GONE = ("geteuid", "getuid", "fchmod", "fchown", "statvfs", "mkfifo", "memfd_create", "O_DIRECTORY", "O_NOFOLLOW")

FILE_NOT_FOUND, ACCESS_DENIED, NOT_READY, ALREADY_EXISTS, CONNECT = 2, 5, 21, 183, 1063
ERRNO = {2: errno.ENOENT, 3: errno.ENOENT, 5: errno.EACCES, 21: errno.EACCES, 32: errno.EACCES, 183: errno.EEXIST}
ADMINISTRATORS, USERS = "S-1-5-32-544", "S-1-5-32-545"
VERSION = "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion"
SERVICES = "SYSTEM\\CurrentControlSet\\Services\\"


def smbios(vm_uuid):
    """RawSMBIOSData with a BIOS and a system structure."""
    bios = struct.pack("<BBH", 0, 4, 0) + b"vendor\0\0"
    content = struct.pack("<BBHBBBB", 1, 27, 1, 1, 2, 3, 4) + uuid.UUID(vm_uuid).bytes_le + b"\x06\0\0"
    return b"\0" * 8 + bios + content + b"maker\0product\0\0" + struct.pack("<BBH", 127, 4, 2) + b"\0\0"


class _Function:
    """A function of a DLL, as ctypes gives it: called with ctypes values, its result's type is set before."""

    def __init__(self, played):
        self.restype = None
        self._played = played

    def __call__(self, *arguments):
        return self._played(*[_plain(argument) for argument in arguments])


def _plain(argument):
    """A number, a text or None as itself; what is filled in (byref, buffers, arrays, structures) as it is."""
    if hasattr(argument, "_obj"):
        return argument._obj
    simple = isinstance(argument, ctypes._SimpleCData)
    return argument.value if simple else argument


class _Dll:
    def __init__(self, windows):
        self._windows = windows
        self._functions = {}

    def __getattr__(self, name):
        return self._functions.setdefault(name, _Function(getattr(self._windows, name)))


class Registry(types.ModuleType):
    """`winreg` over a dictionary: key -> {name: value}."""

    HKEY_LOCAL_MACHINE, KEY_READ, KEY_WRITE, KEY_WOW64_64KEY = 0x80000002, 0x20019, 0x20006, 0x100
    REG_SZ, REG_EXPAND_SZ, REG_DWORD = 1, 2, 4

    def __init__(self):
        super(Registry, self).__init__("winreg")
        self.keys = {}

    def OpenKey(self, _hive, key, _reserved, _access):
        if key not in self.keys:
            raise FileNotFoundError(errno.ENOENT, "no such key", key)
        return _Key(key)

    def CreateKeyEx(self, _hive, key, _reserved, _access):
        self.keys.setdefault(key, {})
        return _Key(key)

    def DeleteKeyEx(self, _hive, key, _access, _reserved):
        if self.keys.pop(key, None) is None:
            raise FileNotFoundError(errno.ENOENT, "no such key", key)

    def QueryValueEx(self, opened, name):
        if name not in self.keys[opened.key]:
            raise FileNotFoundError(errno.ENOENT, "no such value", name)
        return self.keys[opened.key][name], self.REG_SZ

    def SetValueEx(self, opened, name, _reserved, _kind, value):
        self.keys[opened.key][name] = value


class _Key:
    def __init__(self, key):
        self.key = key

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        pass


class Runtime(types.ModuleType):
    """`msvcrt`, as far as a lock on a file."""

    LK_NBLCK, LK_UNLCK = 2, 0

    def __init__(self, fcntl):
        super(Runtime, self).__init__("msvcrt")
        self._fcntl = fcntl

    def locking(self, descriptor, mode, _count):
        fcntl = self._fcntl
        fcntl.flock(descriptor, fcntl.LOCK_UN if mode == self.LK_UNLCK else fcntl.LOCK_EX | fcntl.LOCK_NB)


class FakeWindows:
    """What the DLLs, the registry and `sc.exe` act on. What was asked for is in `said`, in order."""

    def __init__(self, root, vm_uuid):
        self.root = root
        self.registry = Registry()
        self.registry.keys[VERSION] = {
            "ProductName": "Windows Server 2022 Standard",
            "CurrentBuildNumber": "20348",
            "UBR": 2113,
            "CurrentMajorVersionNumber": 10,
            "CurrentMinorVersionNumber": 0,
            "InstallationType": "Server",
        }
        self.table = smbios(vm_uuid)
        self.drives = {}  # `D:\` -> (label, serial number), None for an empty drive
        self.ports = {}  # `\\.\COM2` -> the host's end of the socket
        self.acls = {}  # path -> SDDL
        self.owners = {}  # path -> SID, where it is not Administrators
        self.volatile = {}
        self.said = []
        self.states = []  # each SERVICE_STATUS as (state, accepted, exit code)
        self.events = []
        self.started_by_manager = True
        self.service_state = "STOPPED"
        self.service_process = None  # called by `sc.exe start`: runs the service
        self.handler = None
        self.error = 0
        self._kept = {}  # number -> what it stands for: handles, pointers
        self._next = 0x1000

    # --- what ctypes has on Windows

    def _keep(self, thing):
        self._next += 0x10
        self._kept[self._next] = thing
        return self._next

    def _fail(self, number):
        self.error = number
        return 0

    def win_error(self, number):
        found = OSError(ERRNO.get(number, errno.EINVAL), "error {0}".format(number))
        found.winerror = number
        return found

    # --- kernel32: files

    def CreateDirectoryW(self, path, attributes):
        try:
            os.mkdir(path)
        except FileExistsError:
            return self._fail(ALREADY_EXISTS)
        except OSError:
            return self._fail(FILE_NOT_FOUND)
        self.acls[path] = self._kept[attributes.descriptor]
        return 1

    def MoveFileExW(self, source, target, _flags):
        os.replace(source, target)
        return 1

    def LocalFree(self, pointer):
        self._kept.pop(pointer, None)
        return

    def CloseHandle(self, handle):
        self._kept.pop(handle, None)
        return 1

    def GetTickCount64(self):
        return 86400000

    # --- advapi32: who may

    def ConvertStringSecurityDescriptorToSecurityDescriptorW(self, sddl, _revision, pointer, _size):
        pointer.value = self._keep(sddl)
        return 1

    def GetSecurityDescriptorDacl(self, descriptor, present, acl, _defaulted):
        present.value, acl.value = 1, descriptor
        return 1

    def GetNamedSecurityInfoW(self, path, _kind, _what, owner, _group, _dacl, _sacl, descriptor):
        owner.value = descriptor.value = self._keep(self.owners.get(path, ADMINISTRATORS))
        return 0

    def ConvertSidToStringSidW(self, sid, text):
        buffer = ctypes.create_unicode_buffer(self._kept[sid])
        text.value = ctypes.addressof(buffer)
        self._kept[text.value] = buffer
        return 1

    def SetNamedSecurityInfoW(self, path, _kind, _what, _owner, _group, acl, _sacl):
        self.acls[path] = self._kept[acl]
        return 0

    def IsUserAnAdmin(self):
        return 1

    def GetCurrentProcess(self):
        return ctypes.c_void_p(-1).value

    def OpenProcessToken(self, _process, _access, token):
        token.value = self._keep("token")
        return 1

    def LookupPrivilegeValueW(self, _system, name, luid):
        luid[0] = 19
        self.said.append(("LookupPrivilegeValueW", name))
        return 1

    def AdjustTokenPrivileges(self, _token, _all, wanted, *_rest):
        self.said.append(("AdjustTokenPrivileges", wanted.count, wanted.low, wanted.attributes))
        return 1

    def InitiateSystemShutdownExW(self, machine, _text, seconds, force, restart, _reason):
        self.said.append(("InitiateSystemShutdownExW", machine, seconds, force, restart))
        return 1

    # --- advapi32: a key that is gone with the next boot

    def RegCreateKeyExW(self, _hive, key, _reserved, _class, options, _access, _security, handle, _disposition):
        if options != 1:
            raise AssertionError("the key would stay")
        handle.value = self._keep(self.volatile.setdefault(key, {}))
        return 0

    def RegGetValueW(self, handle, _key, name, _flags, _kind, buffer, _size):
        if name not in self._kept[handle]:
            return FILE_NOT_FOUND
        buffer.value = self._kept[handle][name]
        return 0

    def RegSetValueExW(self, handle, name, _reserved, _kind, value, _size):
        self._kept[handle][name] = value.value
        return 0

    def RegCloseKey(self, handle):
        return 0 if self._kept.pop(handle, None) is not None else 6

    # --- kernel32: drives, firmware

    def GetLogicalDrives(self):
        return sum(1 << (ord(root[0]) - ord("A")) for root in ["C:\\"] + sorted(self.drives))

    def GetDriveTypeW(self, root):
        return 5 if root in self.drives else 3

    def SetThreadErrorMode(self, _mode, _old):
        return 1

    def GetVolumeInformationW(self, root, label, _length, number, *_rest):
        if self.drives.get(root) is None:
            return self._fail(NOT_READY)
        label.value, number[0] = self.drives[root]
        return 1

    def GetSystemFirmwareTable(self, signature, _table, buffer, size):
        if signature != 0x52534D42 or size < len(self.table):
            raise AssertionError("asked for another table, or with too little room")
        ctypes.memmove(buffer, self.table, len(self.table))
        return len(self.table)

    # --- kernel32: a serial port, whose other end is a socket

    def CreateFileW(self, path, _access, share, _security, _creation, flags, _template):
        if share != 0 or not flags & 0x40000000:
            raise AssertionError("the port is shared, or its reader would hold up its writer")
        if path not in self.ports:
            self.error = FILE_NOT_FOUND
            return ctypes.c_void_p(-1).value
        if self.ports[path] is None:
            self.error = ACCESS_DENIED
            return ctypes.c_void_p(-1).value
        self.ports[path].settimeout(0.5)
        return self._keep(self.ports[path])

    def GetCommState(self, _port, _settings):
        return 1

    def BuildCommDCBW(self, text, settings):
        if struct.unpack("<I", settings.raw[:4])[0] != 28:
            raise AssertionError("a DCB says how long it is")
        self.said.append(("BuildCommDCBW", text))
        return 1

    SetCommState = GetCommState

    def SetCommTimeouts(self, _port, limits):
        self.said.append(("SetCommTimeouts", limits.interval, limits.read_each, limits.read, limits.write))
        return 1

    def PurgeComm(self, _port, _what):
        return 1

    def CreateEventW(self, *_arguments):
        return self._keep("event")

    def ReadFile(self, port, buffer, most, _moved, overlapped):
        try:
            data = self._kept[port].recv(most)
        except (OSError, KeyError):
            data = b""
        ctypes.memmove(buffer, data, len(data))
        overlapped.internal_high = len(data)
        return 1

    def WriteFile(self, port, buffer, most, _moved, overlapped):
        self._kept[port].sendall(buffer.raw[:most])
        overlapped.internal_high = most
        return 1

    def GetOverlappedResult(self, _port, overlapped, moved, _wait):
        moved.value = overlapped.internal_high or 0
        return 1

    def CancelIoEx(self, _port, _overlapped):
        return 1

    # --- advapi32: the service control manager, from inside a service

    def StartServiceCtrlDispatcherW(self, table):
        if not self.started_by_manager:
            return self._fail(CONNECT)
        if table[1].name is not None:
            raise AssertionError("the table has no end")
        thread = threading.Thread(target=table[0].main, args=(0, None))
        thread.start()
        thread.join()
        return 1

    def RegisterServiceCtrlHandlerExW(self, name, handler, _context):
        self.said.append(("RegisterServiceCtrlHandlerExW", name))
        self.handler = handler
        return self._keep("service")

    def SetServiceStatus(self, _service, status):
        words = {1: "STOPPED", 2: "START_PENDING", 3: "STOP_PENDING", 4: "RUNNING"}
        self.service_state = words[status.state]
        self.states.append((self.service_state, status.accepted, status.exit_code))
        return 1

    def RegisterEventSourceW(self, _machine, source):
        return self._keep(source)

    def ReportEventW(self, source, kind, _category, number, _user, count, _size, texts, _data):
        self.events.append((self._kept[source], kind, number, [texts[index] for index in range(count)]))
        return 1

    # --- iphlpapi

    def GetAdaptersAddresses(self, _family, _flags, _reserved, buffer, size):
        from openngt_agent import windows_network

        address = struct.pack("=HH4s8x", 2, 0, socket.inet_aton("192.0.2.7"))
        raw = ctypes.create_string_buffer(address, len(address))
        one = windows_network._Unicast(prefix_length=24)
        one.address.address, one.address.length = ctypes.addressof(raw), len(address)
        card = windows_network._Adapter(friendly_name="Ethernet", physical_address_length=6, kind=6)
        card.physical_address[:6] = [0x52, 0x54, 0, 1, 2, 3]
        card.unicast = ctypes.pointer(one)
        loopback = windows_network._Adapter(friendly_name="Loopback", kind=24)
        loopback.next = ctypes.pointer(card)
        self._kept["adapters"] = (raw, one, card, loopback)
        if size.value < ctypes.sizeof(loopback):
            raise AssertionError("too little room")
        ctypes.memmove(buffer, ctypes.byref(loopback), ctypes.sizeof(loopback))
        return 0

    # --- sc.exe

    def run(self, command, timeout=60.0):
        """Stands in for the agent's Runner."""
        from openngt_agent.files import Finished

        self.said.append(tuple(command))
        if command[0] != "sc.exe":
            raise AssertionError("the agent ran {0}".format(command))
        verb, name, rest = command[1], command[2], command[3:]
        key = SERVICES + name
        here = self.registry.keys.get(key)
        if verb == "create" or (here is not None and verb == "config"):
            said = dict(zip(rest[::2], rest[1::2]))
            start = {"auto": 2}[said["start="]]
            values = {"ImagePath": said["binPath="], "Start": start, "DisplayName": said["DisplayName="]}
            self.registry.keys[key] = values
        elif here is None:
            return Finished(1060, "[SC] 1060: the service does not exist", "")
        elif verb == "query":
            return Finished(0, "\n        STATE              : 4  {0}\n".format(self.service_state), "")
        elif verb == "start":
            self.service_state = "START_PENDING"
            self.service_process = threading.Thread(target=self.service_main)
            self.service_process.start()
        elif verb == "stop":
            if self.service_state != "RUNNING":
                return Finished(1062, "[SC] 1062: the service has not been started", "")
            self.control(1)
            self.service_process.join()
        elif verb == "delete":
            del self.registry.keys[key]
        return Finished(0, "", "")

    def service_main(self):
        """What the registered command line starts."""
        from openngt_agent import windows_commands

        windows_commands.run()

    def control(self, number):
        """The manager's word to the running service; what it answers."""
        return self.handler(number, 0, None, None)

    def insert(self, folder, root="D:\\"):
        """A disc with the content of a folder."""
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(folder, root)
        self.drives[root] = ("NUTANIX_TOOLS", self._keep(root))


class _Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in POSIX_ONLY:
            raise ImportError("no module named {0} on Windows".format(name))
        return


def become(vm_uuid):
    """From now on this process runs on Windows, in a folder of its own, which is the working directory too."""
    import fcntl

    root = os.path.realpath(tempfile.mkdtemp(prefix="openngt-windows-"))
    os.chdir(root)
    atexit.register(shutil.rmtree, root, True)
    for folder in ("Program Files", "ProgramData", "Temp"):
        os.mkdir(os.path.join(root, folder))
    os.environ["ProgramW6432"] = os.path.join(root, "Program Files")
    os.environ["ProgramData"] = os.path.join(root, "ProgramData")
    os.environ["PROCESSOR_ARCHITECTURE"] = "AMD64"
    tempfile.tempdir = os.path.join(root, "Temp")
    windows = FakeWindows(root, vm_uuid)
    ctypes.WinDLL = lambda _name, use_last_error=False: _Dll(windows)
    ctypes.get_last_error = lambda: windows.error
    ctypes.WinError = windows.win_error
    sys.modules["winreg"] = windows.registry
    sys.modules["msvcrt"] = Runtime(fcntl)
    for name in POSIX_ONLY:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Blocker())
    usage = shutil.disk_usage(root)
    shutil.disk_usage = lambda _folder: usage
    for name in GONE:
        if hasattr(os, name):
            delattr(os, name)
    if hasattr(socket, "AF_NETLINK"):
        del socket.AF_NETLINK
    os.name = "nt"
    return windows
