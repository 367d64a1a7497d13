# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows' own logs, in lines as people have published them; the whole logs around them are made up."""

from openngt.customization.panther import LOGS, PASSES, outcome, read_log

SPECIALIZE = """\
2026-11-26 10:00:00, Info                         [windeploy.exe] ------------------------------------------------
2026-11-26 10:00:00, Info                         [windeploy.exe] WinDeploy.exe launched with command-line []...
2026-11-26 10:00:01, Error      [0x060565] IBS    Callback_Productkey_Validate: EditionID for product key was NULL.
2026-11-26 10:00:20, Info                         [windeploy.exe] WinDeploy.exe exiting with code [0x0]
"""
OOBE = """\
2026-11-26 10:01:00, Info                         [oobeldr.exe] Running oobeSystem pass with discovered unattend file [C:\\Windows\\panther\\unattend.xml]...
"""  # noqa: E501
DONE = "2026-11-26 10:01:30, Info                         [oobeldr.exe] OOBELdr.exe exiting with code [0x0]...\n"
UNDECODED = """\
2026-11-26 10:01:10, Warning                      [Shell Unattend] Failed to decode password (0x8007000d)
2026-11-26 10:01:11, Error                        [oobeldr.exe] [Action Queue] : Unattend action failed with exit code 4
2026-11-26 10:01:11, Error                        [oobeldr.exe] User input error was detected in unattend file. Error: [0x0]
"""  # noqa: E501
REFUSED = """\
2026-11-26 10:01:10, Error                 CSI    00000001 (F) 80220005 from CWcmScalarInstanceCore::PutCurrentValue(value = { type: 8204, bytes ( 22 ): 5000610035003500 })
2026-11-26 10:01:10, Error                        [oobeldr.exe] SMI data results dump: Source = Name: Microsoft-Windows-Shell-Setup, Language: neutral, /settings/FirstLogonCommands/SynchronousCommand/[Order="5"]/CommandLine
2026-11-26 10:01:10, Error                        [oobeldr.exe] SMI data results dump: Description = Value is invalid.
2026-11-26 10:01:11, Error                        [oobeldr.exe] Pass has failed status; system is in an invalid state.
"""  # noqa: E501
SPECIALIZED, OOBED = LOGS[5], LOGS[7]


def told(oobe: str, specialize: str = SPECIALIZE) -> tuple[str, str, str]:
    found = outcome([(SPECIALIZED, read_log(specialize.encode())), (OOBED, read_log(oobe.encode()))])
    return found.state, found.phase, found.message


def test_it_is_done_when_the_last_pass_has_ended_well_though_errors_were_logged_before() -> None:
    assert told(OOBE + DONE) == ("done", "oobe", "[oobeldr.exe] OOBELdr.exe exiting with code [0x0]...")


def test_it_runs_until_then() -> None:
    assert told(OOBE)[:2] == ("running", "oobe")
    assert told("")[:2] == ("running", "specialize")


def test_a_failure_is_told_by_the_entry_that_says_why() -> None:
    assert told(OOBE + UNDECODED) == ("failed", "oobe", "[Shell Unattend] Failed to decode password (0x8007000d)")
    setting = '/settings/FirstLogonCommands/SynchronousCommand/[Order="5"]/CommandLine: Value is invalid.'
    assert told(OOBE + REFUSED) == ("failed", "oobe", setting)
    missing = "2026-11-26 10:00:05, Info                         [windeploy.exe] Found no unattend file\n"
    assert told("", SPECIALIZE + missing)[:2] == ("failed", "specialize")


def test_a_refused_setting_is_told_with_its_component_and_the_log_that_has_it() -> None:
    found = outcome([(SPECIALIZED, read_log(SPECIALIZE.encode())), (OOBED, read_log((OOBE + REFUSED).encode()))])
    assert (found.component, found.path) == (
        "Microsoft-Windows-Shell-Setup",
        r"C:\Windows\Panther\UnattendGC\setupact.log",
    )
    assert PASSES[found.phase] == "oobeSystem"
    undecoded = outcome([(OOBED, read_log(UNDECODED.encode()))])
    assert (undecoded.component, undecoded.path) == (None, OOBED.path)


def test_without_a_log_nothing_is_known() -> None:
    assert told("", "")[:2] == ("unknown", "")
    assert told("no entry\n", "\x00\x00\n")[:2] == ("unknown", "")


def test_the_last_lines_come_along_and_are_few() -> None:
    lines = "".join(f"2026-11-26 10:01:{n:02d}, Info    [oobeldr.exe] number {n}\n" for n in range(59))
    found = outcome([(OOBED, read_log(lines.encode()))])
    assert len(found.lines) == 20 and found.lines[-1].endswith("number 58")


def test_no_password_and_no_key_leaves_a_log() -> None:
    """T35: an answer file that is quoted, a product key, and a refused value as bytes."""
    log = "2026-11-26 10:00:00, Info  <AdministratorPassword><Value>Pa55-canary</Value></AdministratorPassword>\n"
    log += "2026-11-26 10:00:00, Info  <Password>Pa55-canary\n2026-11-26 10:00:01, Info AAAAA-BBBBB-CCCCC-DDDDD-EEEEE\n"
    said = "\n".join(read_log(log.encode()) + read_log(REFUSED.encode()))
    assert "Failed, hr: 8030000b" in read_log(b"2026-11-26 10:00:00, Info Failed, hr: 8030000b")[0], "codes stay"
    assert "Pa55" not in said and "AAAAA-" not in said and "50006100" not in said


def test_a_log_is_read_in_the_encodings_that_windows_writes() -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert outcome([(OOBED, read_log((OOBE + DONE).encode(encoding)))]).state == "done"
    assert read_log(b"2026-11-26 10:00:00, Info \xff\xfe\x81 x\n"), "bytes of a code page do no harm"


def test_each_phase_has_its_two_logs() -> None:
    phases = [log.phase for log in LOGS]
    assert sorted(phases) == sorted([*dict.fromkeys(phases)] * 2)
