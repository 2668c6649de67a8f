"""Faults of the demo network in `RUTER_DEMO_FAULTS`: parsed, and refused with what is allowed."""

from datetime import date

import pytest

from ruter_dagster.config.demo_faults import DemoFault, parse_faults
from ruter_dagster.config.settings import Settings, SettingsError, load_settings

FIRST, LAST = date(2026, 11, 16), date(2026, 11, 20)


def test_faults_are_separated_by_commas():
    text = "silent_line:2026-11-16:2026-11-20:RUT:Line:21, half_the_passengers:2026-11-16:2026-11-16"
    assert parse_faults(text) == (
        DemoFault("silent_line", FIRST, LAST, "RUT:Line:21"),
        DemoFault("half_the_passengers", FIRST, FIRST),
    )
    assert parse_faults("") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("broken:2026-11-16:2026-11-20", "unknown fault 'broken'; allowed: timetable_change, dead_door"),
        ("dead_door", "allowed: kind:from:to"),
        ("dead_door:2026-11-16", "allowed: kind:from:to"),
        ("dead_door:16.11.2026:2026-11-20", "YYYY-MM-DD"),
        ("dead_door:2026-11-20:2026-11-16", "is before the first date"),
        ("timetable_change:2026-11-16:2026-11-20:RUT:Line:21", "has no subject"),
    ],
)
def test_wrong_fault_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_faults(text)


def test_wrong_fault_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RUTER_DEMO_FAULTS", "dead_door:2026-11-16")
    with pytest.raises(SettingsError, match="RUTER_DEMO_FAULTS"):
        load_settings(_env_file=None)


def test_jobs_get_the_faults():
    text = "dead_door:2026-11-16:2026-11-20"
    settings = Settings(demo_faults=text, _env_file=None)  # pyright: ignore[reportCallIssue]
    assert settings.to_environment()["RUTER_DEMO_FAULTS"] == text
