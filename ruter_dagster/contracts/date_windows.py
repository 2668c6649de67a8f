"""How many days the tables look ahead and back. Every asset, job and sensor takes its dates from these constants."""

HORIZON_DAYS = 3
"""An issue date D forecasts the service dates D to D+3."""

LAG_WEEKS = 8
"""Departure features of a service date T look back on T-56 to T-7."""
FIRST_LAG_DAYS = 7
LAST_LAG_DAYS = 7 * LAG_WEEKS
RECENT_LAG_DAYS = 34
"""The recent lags are the four weeks from T-34 to T-7."""

HA4_DAYS = 28
"""HA4 is the mean of the loads 7, 14, 21 and 28 days before."""
USUAL_WEEKS = 8
"""A quality check compares a date with the same weekday of this many weeks before it."""

LEVEL_WINDOW_DAYS = 14
"""Levels of an issue date D look back on the service dates D-14 to D-1."""
YEAR_AGO_DAYS = 392
"""The comparable date of the year before is at most this many days before a service date."""

DRIFT_REFERENCE_DAYS = 56
"""Drift of an operating date is measured against this many operating dates before it."""
DRIFT_VERDICT_DAYS = 7
"""The verdict on an operating date depends on its metrics and on those of this many dates before it."""
DRIFT_LOAD_DAYS = DRIFT_REFERENCE_DAYS + DRIFT_VERDICT_DAYS
"""Drift of an operating date reads loads and forecasts of this many dates before it."""
DRIFT_VEHICLE_DAYS = 28
"""Absent vehicles of an operating date are those of comparable dates, at most this many dates before it."""
DRIFT_PLAN_DAYS = 21
"""The timetable of an operating date is compared with those of this many dates before it."""

TRUTH_FINAL_DAYS = 14
"""By default the truth of an operating date is final once counts of a date this many days later exist."""
