# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that judges customizations, each in a process of its own with 64 MiB and one second of processor time.
What is good is built and shown as well.

Standard input: one spec a line, as JSON. Standard output, a line for each: `{"errors": [codes], "warnings": [codes],
"kib": how much memory it took}`, or `{"ended": wait status}` for one that went beyond its bounds or broke.
"""

import json
import os
import resource
import sys
from pathlib import Path

from openngt.customization.media import build
from openngt.customization.model import MediaVm
from openngt.customization.preview import preview
from openngt.customization.spec import parse
from openngt.customization.validation import validate
from openngt.errors import OpenNGTError
from openngt_service.customization.schema_files import published_schemas

MEMORY = 64 << 20
SECONDS = 1
SOME_VM = MediaVm("6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", "web1", "i-1")


def no_datastore(path):
    raise OpenNGTError("NOT_FOUND", path)


def judged(spec):
    try:
        customization = parse(spec, no_datastore)
        findings = validate(customization, published_schemas())
        if not any(one.severity == "error" for one in findings):
            preview(build(customization, SOME_VM))
    except OpenNGTError as exc:
        return {"errors": [exc.code], "warnings": []}
    codes = {kind: [one.code for one in findings if one.severity == kind] for kind in ("error", "warning")}
    return {"errors": codes["error"], "warnings": codes["warning"]}


def in_bounds(spec):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = judged(spec)
        answer["kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        text = stream.read()
    status = os.waitpid(child, 0)[1]
    return json.loads(text) if status == 0 and text else {"ended": status}


def main():
    warm = {"scripts": [{"content": "#cloud-config\nhostname: web1\n"}]}
    judged(warm)  # what is loaded at the first use belongs to no case
    for line in sys.stdin:
        print(json.dumps(in_bounds(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
