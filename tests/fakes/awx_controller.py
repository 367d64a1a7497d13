# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for AWX on a loopback address: as much of /api/v2/ as the modules of awx.awx ask for, over real HTTP.

Objects live in memory. What is refused is what AWX 24.6.1 refuses for the same reason (its serializers and views):
a name taken, an object that is not there, a playbook that the project lacks, a survey that is none, a prompt that the
template does not ask for. Nothing is run: jobs are no part of it, and a project is fetched by the time that somebody
asks.
"""

import itertools
import json
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .awx_rules import ENCRYPTED, KINDS, UNIFIED, Refused, check, check_survey

__all__ = ["AwxController", "AwxServer"]

Json = dict[str, Any]
PATH = re.compile(r"^/api/v2/(?P<kind>\w+)/(?:(?P<id>\d+)/(?:(?P<part>\w+)/)?)?$")
MISSING = Refused(404, {"detail": "Not found."})


class AwxController:
    """What AWX knows. `project_files` is what every project turns out to hold."""

    def __init__(self, project_files: Path) -> None:
        self.project_files = project_files
        self.objects: dict[str, dict[int, Json]] = {kind: {} for kind in KINDS}
        self.associated: dict[tuple[str, int, str], list[int]] = {}
        self.surveys: dict[int, Json] = {}
        self._ids = itertools.count(1)
        self.create("organizations", {"name": "Default"})

    # -- For tests to look at -------------------------------------------------------------------------------------

    def named(self, kind: str) -> dict[str, Json]:
        return {one.get("name") or one["identifier"]: one for one in self.objects[kind].values()}

    def names(self, kind: str, owner: Json, part: str) -> list[str]:
        """Of what is associated."""
        target = KINDS[kind].associations[part]
        found = [self.objects[target][one] for one in self.associated.get((kind, owner["id"], part), [])]
        return [one.get("name") or one["identifier"] for one in found]

    # -- What the API does ----------------------------------------------------------------------------------------

    def find(self, kind: str, wanted: Mapping[str, str]) -> list[Json]:
        kinds = UNIFIED if kind == "unified_job_templates" else (kind,)
        every = [one for each in kinds for one in self.objects[each].values()]
        alternatives = {name.removeprefix("or__"): value for name, value in wanted.items() if name.startswith("or__")}
        rest = {name: value for name, value in wanted.items() if not name.startswith("or__")}

        def fits(one: Json) -> bool:
            either = not alternatives or any(str(one.get(name)) == value for name, value in alternatives.items())
            return either and all(str(one.get(name)) == value for name, value in rest.items())

        return [one for one in every if fits(one)]

    def get(self, kind: str, number: int) -> Json:
        if number not in self.objects[kind]:
            raise MISSING
        return self.objects[kind][number]

    def create(self, kind: str, given: Json) -> Json:
        rules = KINDS[kind]
        number = next(self._ids)
        known = {name: value for name, value in given.items() if name in rules.fields}
        one = {**rules.fields, **known, "id": number, "type": rules.type, "url": f"/api/v2/{kind}/{number}/"}
        one["summary_fields"], one["related"] = {}, {"survey_spec": f"{one['url']}survey_spec/"}
        self._settle(kind, one)
        check(self, kind, one, given)
        if kind == "projects":
            one["summary_fields"]["current_update"] = {"id": number, "status": "running"}
        self.objects[kind][number] = one
        return one

    def fetched(self, number: int) -> Json:
        """The update of a project, asked for a first time: it has ended then."""
        project = self.get("projects", number)
        project["summary_fields"].pop("current_update", None)
        return {
            "id": number,
            "type": "project_update",
            "status": "successful" if self.project_files.is_dir() else "failed",
        }

    def change(self, kind: str, number: int, given: Json) -> Json:
        one = self.get(kind, number)
        known = {name: value for name, value in given.items() if name in KINDS[kind].fields}
        changed = {**one, **known}
        if kind == "credentials":
            changed["inputs"] = self._kept(one["inputs"], changed["inputs"])
        self._settle(kind, changed)
        check(self, kind, changed, given)
        one.update(changed)
        return one

    def delete(self, kind: str, number: int) -> None:
        """With what cannot be without it."""
        self.get(kind, number)
        del self.objects[kind][number]
        for other, rules in KINDS.items():
            for name, target in rules.parents.items():
                if kind in target:
                    gone = [one["id"] for one in self.objects[other].values() if one[name] == number]
                    for each in gone:
                        self.delete(other, each)

    def associate(self, kind: str, number: int, part: str, given: Json) -> None:
        target = KINDS[kind].associations[part]
        listed = self.associated.setdefault((kind, number, part), [])
        if given.get("disassociate"):
            listed.remove(given["id"])
            return
        added = self.get(target, given["id"])
        if part == "credentials":
            types = {self.objects[target][one]["credential_type"] for one in listed}
            if added["credential_type"] in types:
                raise Refused(400, {"detail": "Cannot assign multiple credentials of one type."})
        listed.append(given["id"])

    def set_survey(self, kind: str, number: int, spec: Json) -> None:
        self.get(kind, number)
        self.surveys[number] = check_survey(spec)

    def shown(self, kind: str, one: Json) -> Json:
        """As it leaves: without what is secret."""
        if kind != "credentials":
            return one
        fields = self.objects["credential_types"][one["credential_type"]]["inputs"]["fields"]
        secret = {field["id"] for field in fields if field.get("secret")}
        return {
            **one,
            "inputs": {name: ENCRYPTED if name in secret else value for name, value in one["inputs"].items()},
        }

    def _settle(self, kind: str, one: Json) -> None:
        """What AWX works out by itself."""
        if kind == "job_templates":
            one["organization"] = self.get("projects", one["project"])["organization"] if one["project"] else None
        if kind == "inventory_sources":
            one["organization"] = self.get("inventories", one["inventory"])["organization"]

    @staticmethod
    def _kept(before: Json, after: Json) -> Json:
        return {name: before.get(name) if value == ENCRYPTED else value for name, value in after.items()}


class AwxServer:
    """Answers on `url` while it is entered. `calls` are the requests that it has had, as (method, path)."""

    def __init__(self, controller: AwxController, token: str) -> None:
        self.controller = controller
        self.token = token
        self.calls: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def writes(self) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] != "GET"]

    def __enter__(self) -> "AwxServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def answer(controller: AwxController, method: str, path: str, query: Mapping[str, str], body: Json) -> tuple[int, Any]:
    found = PATH.match(path)
    if found is None:
        raise MISSING
    if found["kind"] == "project_updates":
        return 200, controller.fetched(int(found["id"]))
    if found["kind"] not in KINDS and found["kind"] != "unified_job_templates":
        raise MISSING
    kind, number, part = found["kind"], int(found["id"] or 0), found["part"]
    if part == "survey_spec":
        return of_survey(controller, method, kind, number, body)
    if part:
        return of_association(controller, method, kind, number, part, body)
    if number:
        return of_object(controller, method, kind, number, body)
    if method == "POST":
        return 201, controller.shown(kind, controller.create(kind, body))
    return 200, page([controller.shown(kind, one) for one in controller.find(kind, query)])


def page(results: list[Json]) -> Json:
    return {"count": len(results), "next": None, "previous": None, "results": results}


def of_object(controller: AwxController, method: str, kind: str, number: int, body: Json) -> tuple[int, Any]:
    if method == "PATCH":
        return 200, controller.shown(kind, controller.change(kind, number, body))
    if method == "DELETE":
        controller.delete(kind, number)
        return (202 if kind == "inventories" else 204), None
    return 200, controller.shown(kind, controller.get(kind, number))


def of_association(
    controller: AwxController, method: str, kind: str, number: int, part: str, body: Json
) -> tuple[int, Any]:
    controller.get(kind, number)
    if part not in KINDS[kind].associations:
        raise MISSING
    if method == "POST":
        controller.associate(kind, number, part, body)
        return 204, None
    target = KINDS[kind].associations[part]
    listed = [controller.objects[target][one] for one in controller.associated.get((kind, number, part), [])]
    return 200, page([controller.shown(target, one) for one in listed])


def of_survey(controller: AwxController, method: str, kind: str, number: int, body: Json) -> tuple[int, Any]:
    if method == "POST":
        controller.set_survey(kind, number, body)
        return 200, {}
    if method == "DELETE":
        controller.surveys.pop(number, None)
        return 200, {}
    return 200, controller.surveys.get(number, {})


def handler(server: AwxServer) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            url = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                server.calls.append((self.command, url.path))
                status, body = self._answer(url.path, dict(parse_qsl(url.query)), content)
            text = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.send_header("X-API-Product-Name", "AWX")
            self.send_header("X-API-Product-Version", "24.6.1")
            self.end_headers()
            self.wfile.write(text)

        def _answer(self, path: str, query: Mapping[str, str], content: bytes) -> tuple[int, Any]:
            if self.headers.get("Authorization") != f"Bearer {server.token}":
                return 401, {"detail": "Authentication credentials were not provided."}
            try:
                return answer(server.controller, self.command, path, query, json.loads(content or b"{}"))
            except Refused as refusal:
                return refusal.status, refusal.body

        do_GET = do_POST = do_PATCH = do_DELETE = _serve

        def log_message(self, *arguments: Any) -> None:
            """Nothing: `calls` has it."""

    return Handler
