"""Contracts of the feature tables: features known a week ahead, recent levels, and the training sample.

A model row joins a departure's features, the levels and the weather forecast of an issue date
(`forecasting.model_rows.model_rows`). Plain Python only.
"""

from __future__ import annotations

from ruter_dagster.contracts.date_windows import HORIZON_DAYS, LAG_WEEKS, LEVEL_WINDOW_DAYS
from ruter_dagster.contracts.tables import (
    DIRECTION_ID,
    EXPECTED_TIER,
    LINE_ID,
    MODE,
    SCHEDULED_DEPARTURE,
    SEATS,
    SERVICE_DATE,
    SLOT_HOUR,
    STOP_ID,
    STOP_SEQUENCE,
    TOTAL_CAPACITY,
    TRIP_ID,
    Column,
    Rule,
    Table,
)

LEVEL_SCOPES = ("network", "line", "stop", "line_hour")
LEVEL_RATIO_DAYS = (1, 3, 7, LEVEL_WINDOW_DAYS)
YEAR_AGO_SCOPES = ("network", "stop", "line_hour")
"""Scopes whose ratio of load to expected load of the year before is also a feature."""

FAR_HOURS = 3
"""The second lookup of neighbouring hours starts this many hours from a slot, for lines without service in between."""

DAY_CLASSES = ("monday_to_thursday", "friday", "saturday", "sunday_or_holiday")


def _load(name: str, description: str) -> Column:
    return Column(name, "float64", description, required=False, minimum=0)


_CALENDAR = (
    Column("weekday", "int32", "Day of the week of the service date, 0 Monday to 6 Sunday", minimum=0, maximum=6),
    Column(
        "comparable_weekday", "int32", "Weekday with a similar history: 6 (Sunday) on a public holiday",
        minimum=0, maximum=6,
    ),
    Column("day_class", "string", "Class of days with similar loads", allowed=DAY_CLASSES),
    Column("public_holiday", "boolean", "Public holiday of the operator's country, Sundays left out"),
    Column("minor_holiday", "boolean", "Day off for many, but no public holiday: Christmas Eve, New Year's Eve"),
    Column("bridge_day", "boolean", "Working day between a public holiday and a weekend or another holiday"),
    Column("school_holiday", "boolean", "Schools are closed for a holiday"),
    Column("school_holiday_last_week", "boolean", "Schools were closed on the same weekday a week before"),
    Column("school_holiday_weeks", "int32", "Number of the same weekdays in the last 4 weeks that were in a school holiday", minimum=0, maximum=4),
    Column("days_since_public_holiday", "int32", "Days since the last public holiday, at most 14", minimum=0, maximum=14),
    Column("days_to_public_holiday", "int32", "Days to the next public holiday, at most 14", minimum=0, maximum=14),
    Column("public_holidays_nearby", "int32", "Public holidays from 3 days before to 3 days after", minimum=0, maximum=7),
    Column("events", "int32", "Events in the operator's list that affect the departure's line, stop and hour", minimum=0),
    Column(
        "year_ago", "date",
        "Similar date of the year before: 364 days back, or at the same distance from Easter or Christmas",
        required=False,
    ),
    Column("events_last_week", "int32", "Events that affected the same line, stop and hour a week before", minimum=0),
)  # fmt: skip

_PLAN = (
    Column("departure_minute", "int32", "Local clock minute of the planned departure on its service day", minimum=0),
    Column("journey_position", "float64", "Position of the stop in the journey, from 0 (first) to 1 (last)", minimum=0, maximum=1),
    Column(
        "headway_minutes", "float64", "Minutes since the line's previous planned departure from the stop; null for the first",
        required=False, minimum=0,
    ),
    Column("departures_in_slot", "int32", "Planned departures in the slot", minimum=1),
)  # fmt: skip

_HISTORY = (
    *(_load(f"lag_{week}", f"Mean load of the slot {week} weeks before") for week in range(1, LAG_WEEKS + 1)),
    _load("ha4", "Baseline HA4: mean of the slot's known lags of the last 4 weeks"),
    _load("ha8", "Baseline HA8: mean of the slot's known lags of the last 8 weeks"),
    Column("history_count", "int32", "Number of known lags of the last 8 weeks", minimum=0, maximum=LAG_WEEKS),
    _load("usual", "Mean load of the slot on the comparable days from T-56 to T-7 (holidays with Sundays, not with weekdays)"),
    _load("usual_recent", "As `usual`, but each week weighs 0.9 of the week after it"),
    _load("usual_median", "As `usual`, the median"),
    _load("usual_deviation", "As `usual`, the standard deviation"),
    _load("usual_seats", "Mean seats of the vehicles that ran in the slot on the dates of `usual`"),
    _load("usual_previous_hour", "`usual` of the slot an hour before"),
    _load("usual_next_hour", "`usual` of the slot an hour later"),
    _load("usual_previous_stop", "`usual` of the journey's previous stop"),
    _load("usual_line_hour", "Mean of `usual` over the stops of the line, direction and hour"),
    _load("last_week_previous_hour", "Mean load a week before of the slot an hour before"),
    _load("last_week_next_hour", "Mean load a week before of the slot an hour later"),
    _load("last_week_line_hour_ratio", "Load a week before over `usual`, of the line, direction and hour"),
    _load("last_week_network_ratio", "Load a week before over `usual`, of the network"),
    _load("departure_of_day_class", "Mean load of the line's departure from the stop at this minute, on dates of the same class of day from T-56 to T-7. Each week weighs 0.9 of the week after it"),
    _load("departure_of_day_class_recent", "As `departure_of_day_class`, of T-34 to T-7"),
    _load("slot_of_day_class", "As `departure_of_day_class`, of the slot"),
    _load("slot_of_day_class_recent", "As `slot_of_day_class`, of T-34 to T-7"),
    _load("line_hour_of_day_class", "As `departure_of_day_class`, of the line, direction and hour"),
    _load("line_of_day_class", "As `departure_of_day_class`, of the line"),
    _load("network_of_day_class", "As `departure_of_day_class`, of the network"),
    _load("stop_hour_of_day_class", "As `departure_of_day_class`, of the stop and hour, over all lines"),
    _load("stop_hour_of_other_lines", "As `stop_hour_of_day_class`, without the departure's own line"),
    _load("mode_hour_of_day_class", "As `departure_of_day_class`, of the mode and hour, over the lines that run on the service date"),
    _load("mode_hour_of_other_lines", "As `mode_hour_of_day_class`, without the departure's own line"),
    _load("journey_load", "Interpolated between the expected loads of the journey's nearest stops with counts, before and after; 0 before its first stop and after its last"),
    *(
        column
        for suffix, least in (("", "1 hour"), ("_far", f"{FAR_HOURS} hours"))
        for side in ("earlier", "later")
        for column in (
            _load(f"{side}_hour{suffix}", f"`slot_of_day_class` of the line and stop in the nearest {side} hour that has a value, at least {least} away"),
            Column(f"hours_to_{side}{suffix}", "int32", f"Hours to the hour of `{side}_hour{suffix}`", required=False, minimum=1),
        )
    ),
    _load("neighbouring_hours", "Between `earlier_hour` and `later_hour`; the nearer one weighs more"),
    Column(
        "expected", "float64",
        "Simple estimate a week ahead, of the tier in `expected_tier`; 0 if nothing was ever counted",
        minimum=0,
    ),
    EXPECTED_TIER,
)  # fmt: skip

DEPARTURE_FEATURES = Table(
    name="features.departure_features",
    description=(
        "Features of a planned departure that are known a week ahead: plan, calendar and the slot's loads from T-56 to T-7. "
        "One row per planned departure, valid for every horizon."
    ),
    partition="service_date",
    key=("service_date", "trip_id", "stop_sequence"),
    columns=(
        SERVICE_DATE,
        TRIP_ID,
        STOP_SEQUENCE,
        LINE_ID,
        MODE,
        DIRECTION_ID,
        STOP_ID,
        SCHEDULED_DEPARTURE,
        SLOT_HOUR,
        SEATS,
        TOTAL_CAPACITY,
        *_CALENDAR,
        *_PLAN,
        *_HISTORY,
    ),
    rules=(
        Rule(
            "history_agrees",
            "(history_count = 0) = (ha8 IS NULL)",
            "HA8 is known if and only if a lag is known",
        ),
    ),
)

LEVELS = Table(
    name="features.levels",
    description=(
        "Recent levels on an issue date: loads of the network, lines, stops and hours on the 14 service dates before it, "
        "relative to the loads that were expected a week ahead. Empty if nothing was expected yet."
    ),
    partition="issue_date",
    key=("issue_date", "scope", "scope_id"),
    may_be_empty=True,
    columns=(
        Column("issue_date", "date", "Issue date: loads up to the day before are known"),
        Column("scope", "string", "Kind of the level's subject", allowed=LEVEL_SCOPES),
        Column("scope_id", "string", "Subject: its parts (line, direction, stop, hour) joined by |; `all` for the network"),
        *(
            _load(f"ratio_{days}", f"Sum of loads on the last {days} service dates, divided by the sum of their `expected`")
            for days in LEVEL_RATIO_DAYS
        ),
        Column("departure_count", "int32", "Departures with loads in the last 14 service dates", minimum=1),
    ),
)  # fmt: skip

TRAINING_SAMPLE = Table(
    name="features.training_sample",
    description=(
        "Training data: a stratified sample of the departures of each operating date. Each row has its features, "
        "the levels and the weather forecast of one issue date, and the observed load."
    ),
    partition="service_date",
    key=("service_date", "trip_id", "stop_sequence"),
    may_be_empty=True,
    columns=(
        *DEPARTURE_FEATURES.columns,
        Column("issue_date", "date", "Issue date of levels and weather: 0 to 3 days before the service date"),
        Column("horizon_days", "int32", "service_date - issue_date", minimum=0, maximum=HORIZON_DAYS),
        *(
            _load(f"{scope}_ratio_{days}", f"`ratio_{days}` of the departure's {scope} in the levels of the issue date")
            for scope in LEVEL_SCOPES
            for days in LEVEL_RATIO_DAYS
        ),
        *(
            _load(f"{scope}_year_ago", f"Sum of loads of the departure's {scope} on the date `year_ago`, divided by the sum of their `expected`")
            for scope in YEAR_AGO_SCOPES
        ),
        Column("temperature", "float64", "Air temperature as forecast on the issue date, °C", required=False),
        Column("precipitation", "float64", "Precipitation as forecast on the issue date, mm in the hour", required=False),
        Column("wind_speed", "float64", "Wind as forecast on the issue date, m/s", required=False),
        Column("load", "float64", "Passengers on board after departure, balanced", minimum=0),
        Column("weight", "float64", "Reliability of the load, above 0 and at most 1", minimum=0, maximum=1),
        Column("sample_weight", "float64", "Number of departures of the operating date that the row represents", minimum=1),
    ),
)  # fmt: skip
