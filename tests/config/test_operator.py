"""Operator files: defaults, keys, and errors that name the key, the value and what is allowed."""

import re
from datetime import date
from pathlib import Path

import pytest
from rich.console import Console

from ruter_dagster.commands.demo import run_demo
from ruter_dagster.config.operator import OperatorError, load_operator, operator_of
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.drift import DRIFT_METRICS
from ruter_dagster.forecasting.calendar import Rename
from ruter_dagster.forecasting.carry_over import CarryOver
from ruter_dagster.jobs.operator_rules import calendar_of, carry_over_of, drift_metrics_of

REPOSITORY = Path(__file__).parents[2]
MINIMAL = 'name = "X"\ncountry = "NO"\ntime_zone = "Europe/Oslo"\nhistory_start = 2026-06-01\n'


def write(folder: Path, content: str) -> Path:
    path = folder / "operator.toml"
    path.write_text(content, encoding="utf-8")
    return path


def test_ruter_is_the_default_operator():
    operator = load_operator()
    assert (operator.name, operator.country, operator.time_zone) == ("Ruter", "NO", "Europe/Oslo")


def test_school_holidays_include_their_first_and_last_date():
    dates = load_operator("ruter").school_holiday_dates()
    assert {date(2026, 9, 28), date(2026, 10, 2)} <= dates
    assert date(2026, 9, 27) not in dates
    assert date(2026, 10, 3) not in dates


def test_operator_may_be_named_by_its_folder():
    operator = load_operator(REPOSITORY / "examples" / "aarhus_1a")
    assert operator.time_zone == "Europe/Copenhagen"
    assert date(2023, 10, 16) in operator.school_holiday_dates()


def test_events_may_be_in_a_separate_file(tmp_path):
    (tmp_path / "events.toml").write_text(
        '[[events]]\nname = "Concert"\ndate = 2026-11-14\nfrom_hour = 18\nto_hour = 24\nlines = ["31"]\n',
        "utf-8",
    )
    operator = load_operator(write(tmp_path, MINIMAL + 'events_file = "events.toml"\n'))
    assert [(event.name, event.lines) for event in operator.events] == [("Concert", ("31",))]


def test_renames_of_lines_and_stops_reach_the_calendar(tmp_path):
    content = '[[renames]]\nline = "1B"\nwas = "1A"\nfrom = 2023-09-04\n[[renames]]\nstop = "S2"\nwas = "S"\nfrom = 2023-09-05\n'
    calendar = calendar_of(load_operator(write(tmp_path, MINIMAL + content)))
    assert calendar.renames == (
        Rename("line_id", "1A", "1B", date(2023, 9, 4)),
        Rename("stop_id", "S", "S2", date(2023, 9, 5)),
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            MINIMAL.replace("Europe/Oslo", "Oslo"),
            "time_zone = 'Oslo': allowed: a name of the IANA time zone database",
        ),
        (
            MINIMAL.replace("NO", "Norway"),
            "country = 'Norway': allowed: two capital letters, an ISO 3166 code",
        ),
        (MINIMAL.replace('name = "X"', ""), "name is missing"),
        (MINIMAL + "colour = 1\n", "Unknown key colour. Did you mean country?"),
        (
            MINIMAL + '[route_types]\nFunicular = "lift"\n',
            "route_types.Funicular = 'lift': allowed: bus, tram",
        ),
        (
            MINIMAL + '[loads.lines]\n20 = "yes"\n',
            "loads.lines.20 = 'yes': Input should be 'infer', 'always' or 'never'",
        ),
        (MINIMAL + "[occupancy]\nmany_seats_free_above = 2\n", "occupancy.many_seats_free_above = 2"),
        (
            MINIMAL + '[[school_holidays]]\nname = "Autumn"\nfrom = 2026-10-02\nto = 2026-09-28\n',
            "`to` (2026-09-28) is before `from` (2026-10-02)",
        ),
        (
            MINIMAL + '[[renames]]\nwas = "1A"\nfrom = 2023-09-04\n',
            "a rename has either `line` or `stop`, the new id, and `was`, the former one",
        ),
        (
            MINIMAL + '[[renames]]\nline = "1B"\nstop = "X"\nwas = "1A"\nfrom = 2023-09-04\n',
            "a rename has either `line` or `stop`",
        ),
        (
            MINIMAL + '[[renames]]\nline = "1A"\nwas = "1A"\nfrom = 2023-09-04\n',
            "`was` (1A) equals the new id",
        ),
        (
            MINIMAL + 2 * '[[renames]]\nline = "1B"\nwas = "1A"\nfrom = 2023-09-04\n',
            "renames: line 1A is renamed twice from 2023-09-04; keep one of them",
        ),
        (MINIMAL + '[[renames]]\nline = "1B"\nwas = "1A"\n', "renames[0].from is missing"),
        ("name = \n", "is not valid TOML in UTF-8"),
    ],
)
def test_error_names_key_and_allowed_values(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(OperatorError) as failure:
        load_operator(path)
    assert message in str(failure.value)
    assert str(path) in str(failure.value)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (MINIMAL.replace("NO", "XX"), "country = 'XX'"),
        (MINIMAL + 'subdivision = "ZZ"\n', "country = 'NO', subdivision = 'ZZ'"),
    ],
)
def test_country_with_unknown_holidays_is_refused(tmp_path, content, place):
    path = write(tmp_path, content)
    message = f"Operator X: {place}: allowed: ISO 3166 codes of the package holidays"
    with pytest.raises(OperatorError, match=message):
        calendar_of(load_operator(path))
    with pytest.raises(OperatorError, match=message):
        run_demo(Settings(operator=str(path), state_dir=tmp_path / "state"), Console(quiet=True))
    assert not (tmp_path / "state").exists()


def test_subdivision_has_its_own_holidays(tmp_path):
    bavaria = MINIMAL.replace("NO", "DE") + 'subdivision = "BY"\n'
    assert calendar_of(load_operator(write(tmp_path, bavaria))).is_public_holiday(date(2026, 1, 6))
    germany = MINIMAL.replace("NO", "DE")
    assert not calendar_of(load_operator(write(tmp_path, germany))).is_public_holiday(date(2026, 1, 6))


def test_operator_sets_the_carry_over_mode(tmp_path):
    text = '[loads]\ncarry_over = "never"\nlongest_wait_minutes = 5\n[loads.lines]\n"20" = "always"\n'
    operator = load_operator(write(tmp_path, MINIMAL + text))
    assert carry_over_of(operator) == CarryOver("never", {"20": "always"}, 5)
    assert carry_over_of(load_operator("ruter")) == CarryOver("infer", {}, 20)


def test_error_for_unknown_name_lists_known_operators():
    with pytest.raises(OperatorError, match=r"'rutter' is unknown; allowed: demo, ruter"):
        load_operator("rutter")


def test_error_names_missing_file():
    with pytest.raises(
        OperatorError, match=r"There is no operator file .*nowhere/operator\.toml; check the path"
    ):
        load_operator("nowhere/operator.toml")


def test_operator_file_beside_tides_tables_is_used():
    aarhus = str(REPOSITORY / "examples" / "aarhus_1a")
    assert operator_of(Settings(source="tides", tides_path=aarhus)).name == "Midttrafik"
    assert operator_of(Settings(source="tides", tides_path=aarhus, operator="ruter")).name == "Ruter"


def test_ruter_is_the_operator_of_tides_tables_without_a_file(tmp_path):
    assert operator_of(Settings(source="tides", tides_path=str(tmp_path))).name == "Ruter"
    assert operator_of(Settings(source="tides", tides_path=tmp_path.as_uri())).name == "Ruter"


def test_operator_file_may_be_a_url(tmp_path):
    assert load_operator(write(tmp_path, MINIMAL).as_uri()).name == "X"


def test_demo_operator_adds_events_to_ruter():
    demo, ruter = operator_of(Settings(source="demo")), load_operator("ruter")
    assert demo.name == "Demo network"
    assert {"Football at the stadium, arrivals", "Concert at the arena, arrivals"} <= {
        event.name for event in demo.events
    }
    assert ruter.events == ()
    assert demo.school_holidays == ruter.school_holidays
    assert operator_of(Settings(source="demo", operator="ruter")).name == "Ruter"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (
            "[capacities.modes]\nbus = { seats = 80, total = 75 }\n",
            "`seats` (80) must not exceed `total` (75)",
        ),
        ("[capacities.modes]\nblimp = { seats = 8, total = 8 }\n", "allowed: bus, tram, metro, boat, rail"),
        ('[capacities.lines]\n"31" = { seats = 8 }\n', "capacities.lines.31.total is missing"),
    ],
)
def test_wrong_capacity_names_its_key(tmp_path, content, fault):
    with pytest.raises(OperatorError) as failure:
        load_operator(write(tmp_path, MINIMAL + content))
    assert "capacities" in str(failure.value)
    assert fault in str(failure.value)


def test_drift_thresholds_reach_the_metrics(tmp_path):
    content = (
        "[drift]\nclear = 0.7\ndays_to_clear = 3\n[drift.metrics.bias]\nwarn = 0.2\nact = 0.4\nclear = 0.5\n"
    )
    metrics = {
        metric.name: metric for metric in drift_metrics_of(load_operator(write(tmp_path, MINIMAL + content)))
    }
    bias, psi = metrics["bias"], metrics["population_stability_index"]
    assert (bias.warn, bias.act, bias.clear, bias.days_to_clear) == (0.2, 0.4, 0.5, 3)
    assert (psi.warn, psi.act, psi.clear, psi.days_to_clear) == (0.10, 0.25, 0.7, 3)
    assert metrics["timetable_change"].days_to_clear == 7, "a week, which has every day type"
    assert metrics["door_imbalance"].clear == 0, "chance explains the imbalance"


def test_thresholds_of_drift_are_the_usual_ones_without_settings(tmp_path):
    assert drift_metrics_of(load_operator(write(tmp_path, MINIMAL))) == DRIFT_METRICS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[drift.metrics.biass]\nwarn = 0.2\n", "unknown metric biass. Did you mean bias?"),
        ("[drift.metrics.bias]\nwarn = 0.3\n", "drift.metrics.bias: act = 0.25 must be above warn = 0.3"),
        (
            "[drift.metrics.matched_share]\nwarn = 1.2\n",
            "warn = 1.2 must be below the value of a healthy network, 1",
        ),
        (
            "[drift.metrics.silent_lines]\nact = 3\n",
            "silent_lines: this metric never requests a training; remove `act`",
        ),
        (
            "[drift.metrics.bias]\ndays_to_warn = 8\n",
            "drift.metrics.bias.days_to_warn = 8: Input should be less than",
        ),
        ("[drift]\nclear = 1.5\n", "drift.clear = 1.5: Input should be less than or equal to 1"),
        ("[drift]\ndays = 3\n", "Unknown key drift.days"),
    ],
)
def test_wrong_drift_thresholds_are_refused(tmp_path, content, message):
    with pytest.raises(OperatorError, match=re.escape(message)):
        load_operator(write(tmp_path, MINIMAL + content))
