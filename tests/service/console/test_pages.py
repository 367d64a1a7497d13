# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages show and do, with the service's own work behind them."""

import asyncio
import datetime
import json
import uuid
from collections.abc import Awaitable, Callable

from tests.fakes.agents import agents_of

from openngt import effects
from openngt_service.store.ledger import IssueRequest
from openngt_service.tasks.engine import Progress

from .conftest import Browser, Console

Play = Callable[[Callable[[Console], Awaitable[None]]], None]
EXPIRY = "ngt_client_cert_expiry_check"


def names(browser: Browser) -> list[str]:
    return [row.get_text() for row in browser.page.select("tr[data-vm] th[scope=row]")]


async def give_certificate(console: Console, vm_uuid: str, days: int) -> None:
    """One that is in use and has so many days left; a begun day counts."""
    now = effects.now()
    life = datetime.timedelta(days=days + 199.5)
    request = IssueRequest(vm_uuid, "link", life)
    [issued] = await console.workshop.store.ledger.issue(
        [request], actor="test", now=now - datetime.timedelta(days=200)
    )
    await console.workshop.store.ledger.promote(int(issued.entry.serial_hex, 16))


def test_the_fleet_is_filtered_sorted_and_counted_as_the_api_does_it(play: Play) -> None:
    async def scenario(console: Console) -> None:
        async with agents_of(console.workshop) as agents:
            await agents.install(console.add_vm("db1"), "db1")
            for name in ("web1", "web2"):
                await console.enrol(name)
            browser = await console.somebody("viewer")
            assert names(browser) == ["db1", "web1", "web2"]
            assert "3 enrolled" in browser.text(".counts")
            assert browser.text("[data-count='Link=active']") == "1 Link: active"
            await browser.open(str(browser.form("[data-count='Link=inactive']")["href"]))
            assert names(browser) == ["web1", "web2"] and browser.text("caption") == "2 of 3 enrolled VMs"
            await browser.open("/console/?name=B2&filter=&filter=link=inactive&filter=generation%3C5&sort=-vm_name")
            assert names(browser) == ["web2"]
            assert browser.text(".chips") == "generation<5 remove", "what no list of values shows can be taken away"
            chosen = [option["value"] for option in browser.page.select("option[selected]")]
            assert chosen == ["link=inactive"]
            await browser.open(str(browser.form(".chips a")["href"]))
            assert not browser.page.select(".chips") and browser.form("#name")["value"] == "B2"
            await browser.open("/console/")
            link = browser.form("th[scope=col] a")
            for order, expected in (("descending", ["web2", "web1", "db1"]), ("ascending", ["db1", "web1", "web2"])):
                await browser.open(str(link["href"]))
                link = browser.form("th[scope=col] a")
                assert names(browser) == expected and link.parent and link.parent["aria-sort"] == order

    play(scenario)


def test_a_filter_that_cannot_be_is_named_and_the_form_stays(play: Play) -> None:
    async def scenario(console: Console) -> None:
        await console.enrol("web1")
        browser = await console.somebody("viewer")
        for query, what in (
            ("filter=colour=red", "there is no field of that name"),
            ("filter=link=red", "give inactive, active, or none"),
            ("sort=colour", "sort: there is no field"),
            ("page_token=zzz", "page_token"),
            ("&".join(["filter=link=active"] + [f"filter=generation={n}" for n in range(40)]), "at most 32"),
            (f"name={'x' * 300}", "name: give at most 255"),
        ):
            answer = await browser.open(f"/console/?{query}")
            assert (answer.status_code, browser.problem()) == (400, "INVALID_INPUT"), query
            assert what in browser.text(".problem") and "What to do: correct the named field" in browser.text(
                ".problem"
            )
            assert browser.page.select("form.filters")

    play(scenario)


def test_pages_of_a_fleet_show_each_vm_once(play: Play) -> None:
    async def scenario(console: Console) -> None:
        for number in range(230):
            vm = str(uuid.uuid4())
            console.workshop.hypervisor.add(vm, f"vm{number:03}", {})
            await console.workshop.operations.enable(vm, {}, actor="test")
        browser = await console.somebody("viewer")
        for path, cells in (("/console/", 0), ("/console/expiry?days=14&check=ngt_link_check&sort=vm_name", 14)):
            await browser.open(path)
            seen, pages = names(browser), 1
            while more := browser.page.select("a[rel=next]"):
                await browser.open(str(more[0]["href"]))
                seen, pages = seen + names(browser), pages + 1
                assert len(browser.form("tr[data-vm]").select(".cell")) == cells, "the next page is of the same kind"
            assert seen == [f"vm{number:03}" for number in range(230)] and pages == 3
        assert browser.form("#check option[selected]")["value"] == "ngt_link_check"

    play(scenario)


def test_enabling_capabilities_and_disabling_from_the_vms_page(play: Play) -> None:
    async def scenario(console: Console) -> None:
        vm = console.add_vm("web1")
        browser = await console.somebody("operator")
        await browser.open("/console/hypervisor")
        await browser.open(str(browser.form("tr[data-vm] a")["href"]))
        answer = await browser.submit(browser.form("#enable"), vss_snapshot=None)
        await browser.open(answer.headers["location"])
        assert browser.text(".notice") == "Guest tools are enabled."
        record = await console.workshop.operations.vm(vm)
        assert (record["vss_snapshot"], record["self_service_restore"]) == (False, True)
        await browser.open(f"/console/vms/{vm}")
        assert not browser.page.select(".notice"), "said once"
        assert not browser.form("#vss").has_attr("checked") and browser.form("#ssr").has_attr("checked")
        await browser.submit(browser.form("#capabilities"), vss_snapshot="on", self_service_restore=None)
        record = await console.workshop.operations.vm(vm)
        assert (record["vss_snapshot"], record["self_service_restore"]) == (True, False)
        await browser.open(f"/console/vms/{vm}")
        assert "Revokes the certificates of web1" in browser.text("#disable")
        answer = await browser.submit(browser.form("#disable form"))
        await browser.open(answer.headers["location"])
        assert "Guest tools are not enabled" in browser.text() and browser.page.select("#enable")

    play(scenario)


def test_a_form_that_is_sent_twice_is_one_task(play: Play) -> None:
    async def scenario(console: Console) -> None:
        vm = await console.enrol("web1")
        browser = await console.somebody("operator")
        await browser.open(f"/console/vms/{vm}")
        form = browser.form("#mount")
        first = await browser.submit(form, config_only="on")
        again = await browser.submit(form, config_only="on")
        assert first.headers["location"] == again.headers["location"]
        assert (await browser.submit(form)).status_code == 409 and browser.problem() == "IDEMPOTENCY_MISMATCH"
        await console.ended(first.headers["location"])

    play(scenario)


def test_a_mount_belongs_to_who_made_it_and_can_be_ended_by_force(play: Play) -> None:
    async def scenario(console: Console) -> None:
        vm = await console.enrol("web1")
        mounted = await console.workshop.operations.mount(vm, holder="somebody", config_only=True, actor="test")
        await console.ended(mounted["task_id"])
        browser = await console.somebody("operator")
        await browser.open(f"/console/vms/{vm}")
        assert "mounted by somebody since" in browser.text()
        refused = await browser.submit(browser.form("#eject"))
        await console.ended(refused.headers["location"])
        await browser.open(refused.headers["location"])
        assert browser.problem() == "VM_BUSY" and "somebody has the VM's ISO" in browser.text(".problem")
        await browser.open(f"/console/vms/{vm}")
        forced = await browser.submit(browser.form("#eject"), force="on")
        assert (await console.ended(forced.headers["location"]))["result"] == {"ejected": True}

    play(scenario)


def test_a_refresh_shows_its_vm_and_its_parts(play: Play) -> None:
    async def scenario(console: Console) -> None:
        async with agents_of(console.workshop) as agents:
            vm = console.add_vm("web1")
            await agents.install(vm, "web1")
            before = (await console.workshop.operations.vm(vm))["certificate"]["serial"]
            browser = await console.somebody("operator")
            await browser.open(f"/console/vms/{vm}")
            answer = await browser.submit(browser.form("#refresh"))
            assert (await console.ended(answer.headers["location"]))["state"] == "succeeded"
            await browser.open(answer.headers["location"])
            assert "Refreshing NGT certificates of VMs" in browser.text("h1")
            row = browser.form(f"tr[data-vm='{vm}']")
            assert "refreshed" in row.get_text() and "Refreshing NGT certificates" in row.get_text()
            await browser.open(str(row.select("td a")[0]["href"]))
            assert "web1" in browser.text(".facts") and "Part of" in browser.text(".facts")
            await browser.open(f"/console/vms/{vm}")
            serial = (await console.workshop.operations.vm(vm))["certificate"]["serial"]
            assert serial != before and serial in browser.text()

    play(scenario)


def test_a_task_page_follows_the_task_with_and_without_script(play: Play) -> None:
    async def scenario(console: Console) -> None:
        vm, go_on = await console.enrol("web1"), asyncio.Event()

        async def work(progress: Progress) -> dict[str, object]:
            await progress.step(40, "half-way & on")
            await go_on.wait()
            return {"done": True}

        task = await console.workshop.parts.engine.submit("mount", vm, work, actor="test")
        browser = await console.somebody("viewer")
        path = f"/console/tasks/{task.task_id}"
        while "half-way & on" not in browser.page.get_text():
            await browser.open(path)
        assert browser.form("progress")["value"] == "40" and browser.form("#live").has_attr("data-live")
        assert browser.form("noscript meta")["http-equiv"] == "refresh"
        await browser.open("/console/tasks")
        while "half-way & on" not in browser.text("table"):  # the list is read from the database, a moment later
            await browser.open("/console/tasks")
        assert browser.form("#live").has_attr("data-live")
        go_on.set()
        await console.ended(path)
        await browser.open(path)
        assert not browser.form("#live").has_attr("data-live") and not browser.page.select("script, noscript")
        assert "succeeded" in browser.text(".summary") and '"done": true' in browser.text("pre")

    play(scenario)


def test_the_grid_has_the_apis_severities_and_those_that_end_first_on_top(play: Play) -> None:
    async def scenario(console: Console) -> None:
        expected = [
            ("m1", -1, "FAIL"),
            ("p7", 7, "FAIL"),
            ("p45", 45, "WARN"),
            ("p90", 90, "INFO"),
            ("p91", 91, "PASS"),
        ]
        for name, days, _ in reversed(expected):
            await give_certificate(console, await console.enrol(name), days)
        browser = await console.somebody("viewer")
        await browser.open("/console/expiry?days=14")
        last = [row.select("td.cell")[-1] for row in browser.page.select("#grid tr[data-vm]")]
        assert [cell["data-state"] for cell in last] == ["OFF"] * 5, "no check has run yet"
        await console.context.health.runner.run([EXPIRY])
        await browser.open("/console/expiry?days=14")
        rows = browser.page.select("#grid tr[data-vm]")
        told = [(row.select_one("a"), row.select("td.cell")) for row in rows]
        assert [name.get_text() for name, _ in told if name] == [name for name, _, _ in expected]
        assert [cells[-1]["data-state"] for _, cells in told] == [state for _, _, state in expected]
        assert [cells[-1].get_text() for _, cells in told] == [state for _, _, state in expected]
        assert all(len(cells) == 14 and cells[0]["data-state"] == "OFF" for _, cells in told)
        history = await console.context.health.history([EXPIRY], [], days=14, limit=10)
        api = {row["vm_name"]: row["days"][-1] for row in history["items"]}
        assert api == {name: state for name, _, state in expected}
        await browser.open("/console/expiry?filter=expiry%3DFAIL")
        assert names(browser) == ["m1", "p7"]
        assert set(browser.text(".legend").split()) >= {"OFF", "PASS", "INFO", "WARN", "FAIL"}

    play(scenario)


def test_running_a_check_leads_to_its_output(play: Play) -> None:
    async def scenario(console: Console) -> None:
        await give_certificate(console, await console.enrol("web1"), 7)
        browser = await console.somebody("operator")
        await browser.open("/console/health")
        [form] = [one for one in browser.page.select("form") if one.select(f"input[value={EXPIRY}]")]
        answer = await browser.submit(form)
        task = await console.ended(answer.headers["location"])
        await browser.open(answer.headers["location"])
        assert EXPIRY in browser.text("table") and "FAIL" in browser.text("table")
        places = {one.get_text(): str(one["href"]) for one in browser.page.select("a[download]")}
        text = await browser.open(places["text"])
        assert "VM: web1 - NGT client certificate expires in 7 days" in text.text
        assert text.headers["content-disposition"].startswith('attachment; filename="openngt-health-')
        report = json.loads((await browser.open(places["JSON"])).text)
        assert [check["name"] for check in report["checks"]] == [EXPIRY]
        assert report["counts"] == task["result"]["counts"]
        await browser.open(f"/console/health/checks/{EXPIRY}")
        assert "web1" in browser.text("section") and "openngt refresh run VM" in browser.text()

    play(scenario)


def test_an_alert_is_acknowledged_with_a_note(play: Play) -> None:
    async def scenario(console: Console) -> None:
        await give_certificate(console, await console.enrol("web1"), 7)
        await console.context.health.runner.run([EXPIRY])
        browser = await console.somebody("operator")
        await browser.open("/console/health/alerts")
        form = browser.form("tr[data-alert] form")
        assert (await browser.submit(form, note="n" * 1025)).status_code == 400
        assert "note: give at most 1024" in browser.text(".problem")
        answer = await browser.submit(form, note="renewed on Monday")
        await browser.open(answer.headers["location"])
        shown = browser.text("tr[data-alert]")
        assert "the-operator" in shown and "renewed on Monday" in shown
        assert not browser.page.select("tr[data-alert] form")
        rows = [row[:2] for row in await console.audit("health.acknowledge")]
        assert rows == [("the-operator", "INVALID_INPUT"), ("the-operator", "ok")]

    play(scenario)


def test_a_hypervisor_that_does_not_answer_takes_no_vm_page_down(play: Play) -> None:
    async def scenario(console: Console) -> None:
        vm = await console.enrol("web1")
        browser = await console.somebody("operator")
        for method in ("list_vms", "find"):
            console.workshop.hypervisor.faults[method] = "never"
        for path in ("/console/", f"/console/vms/{vm}", "/console/expiry"):
            assert (await browser.open(path)).status_code == 200, path
            assert "web1" in browser.text()
        assert (await browser.open("/console/hypervisor")).status_code == 502
        assert browser.problem() == "HYPERVISOR_FAILED" and "What to do:" in browser.text(".problem")

    play(scenario)


def test_every_page_has_landmarks_a_title_and_tables_with_headers(play: Play) -> None:
    async def scenario(console: Console) -> None:
        vm = await console.enrol("web1")
        other = console.add_vm("db1")
        browser = await console.somebody("admin")
        for path in ("", "hypervisor", f"vms/{vm}", f"vms/{other}", "expiry", "tasks", "health", "health/alerts"):
            await browser.open(f"/console/{path}")
            page = browser.page
            assert page.html and page.html["lang"] == "en" and page.title and page.title.get_text().endswith("openngt")
            assert [len(page.select(one)) for one in ("header", "nav[aria-label]", "main#main", "h1")] == [1] * 4, path
            assert browser.form("a.skip")["href"] == "#main"
            assert all(cell.has_attr("scope") for cell in page.select("th")), path
            assert all(table.select("thead th[scope=col]") for table in page.select("table")), path
            for field in page.select("input:not([type=hidden]), select"):
                labelled = page.select(f"label[for={field.get('id')}]") or field.has_attr("aria-label")
                assert labelled, (path, field)
            ids = [str(one["id"]) for one in page.select("[id]")]
            assert len(ids) == len(set(ids)), path
            assert all(one.get_text(strip=True) for one in page.select("[data-state]")), "no colour without words"

    play(scenario)
