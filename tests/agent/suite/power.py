# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on Python 3.6 and newer, standard library only.
"""What a power cut can leave of what a program has written: every operation on files is noted, every outcome made up.

The rules are POSIX's, not one file system's. Until `fsync`, of a file's bytes any beginning may be there, or as many
zeros; until `fsync` of the folder, each of its changes may be there or not, whatever came after.
"""

import contextlib
import itertools
import os

from openngt_agent import files, posix_files


class _Stream:
    """A file being written, whose bytes are noted as they go to the kernel."""

    def __init__(self, stream, note):
        self._stream = stream
        self._note = note

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._stream.close()

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, data):
        self._note(data)
        return self._stream.write(data)


class Recorder:
    """Stands in for `os` in the room for files: does everything, and notes what changes a disk."""

    def __init__(self):
        self.log = []
        self._paths = {}

    def __getattr__(self, name):
        return getattr(os, name)

    def open(self, path, flags, *args, **more):
        descriptor = os.open(path, flags, *args, **more)
        self._paths[descriptor] = os.fsdecode(path)
        if flags & os.O_CREAT:
            self.log.append(("create", os.fsdecode(path)))
        return descriptor

    def close(self, descriptor):
        self._paths.pop(descriptor, None)
        os.close(descriptor)

    def fdopen(self, descriptor, mode="r", *args, **more):
        stream = os.fdopen(descriptor, mode, *args, **more)
        path = self._paths.get(descriptor)
        if "w" not in mode or path is None:
            return stream
        return _Stream(stream, lambda data: self.log.append(("write", path, bytes(data))))

    def fsync(self, descriptor):
        os.fsync(descriptor)
        self.log.append(("sync", self._paths[descriptor]))

    def replace(self, source, target):
        os.replace(source, target)
        self.log.append(("rename", source, target))

    def unlink(self, path):
        os.unlink(path)
        self.log.append(("unlink", path))


@contextlib.contextmanager
def recorded():
    """The operations on files that the agent makes inside the block, in `log`."""
    recorder = Recorder()
    rooms = (files, posix_files)
    for room in rooms:
        room.os = recorder
    try:
        yield recorder
    finally:
        for room in rooms:
            room.os = os


def outcomes(before, log, step):
    """Every folder that a power cut may leave: (how many operations were done, {path: content}).

    `before`: what was there, {path: content}. `step`: of bytes that are not safe, each `step`-th beginning is tried.
    """
    for done in range(len(log) + 1):
        for found in _after(before, log[:done], step):
            yield done, found


def _after(before, log, step):
    contents, pending = {}, []  # a file's (bytes, how many are safe); changes of the folder that are not safe yet
    names = {path: path for path in before}
    for path, content in before.items():
        contents[path] = (content, len(content))
    safe = dict(names)
    for operation in log:
        kind, path = operation[0], operation[1]
        if kind == "write":
            written, synced = contents[names[path]]
            contents[names[path]] = (written + operation[2], synced)
        elif kind == "sync" and path in names:
            contents[names[path]] = (contents[names[path]][0], len(contents[names[path]][0]))
        elif kind == "sync":
            safe, pending = dict(names), []
        else:
            if kind == "create":
                contents[path] = (b"", 0)
            change = _change(kind, operation, names)
            change(names)
            pending.append(change)
    for chosen in itertools.product((False, True), repeat=len(pending)):
        there = dict(safe)
        for change in itertools.compress(pending, chosen):
            change(there)
        for found in _contents(there, contents, step):
            yield found


def _change(kind, operation, names):
    if kind == "unlink":
        return lambda folder: folder.pop(operation[1], None)
    file = operation[1] if kind == "create" else names[operation[1]]
    target = operation[-1]

    def change(folder):
        if kind == "rename":
            folder.pop(operation[1], None)
        folder[target] = file

    return change


def _contents(there, contents, step):
    names = sorted(there)
    choices = [_versions(*contents[there[name]], step=step) for name in names]
    for chosen in itertools.product(*choices):
        yield dict(zip(names, chosen))


def _versions(written, synced, step):
    if synced == len(written):
        return [written]
    torn = [written[:length] for length in range(synced, len(written), step)]
    return torn + [b"\0" * len(written), written]
