"""The dashboard's definition for QuickSight, as its API and CloudFormation take it.

Four sheets: the network, its lines, the departures of a line, and drift. A click on a mode of the network opens the lines, a
click on a mode there shows its lines alone, and a click on a line opens its departures. The data sets are those of
`views.VIEWS`; Terraform adds their ARNs. Shapes: QuickSight API, DashboardVersionDefinition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ruter_dagster.dashboards.quicksight_parts import (
    GRID_COLUMNS,
    Json,
    aggregated,
    bar_chart,
    calculated,
    choice_filter,
    days_control,
    dimension,
    dropdown,
    filter_sheet,
    grid,
    kpi,
    line_chart,
    newest_days,
    open_sheet,
    open_sheet_of_row,
    parameter_control,
    parameter_filter,
    table,
)

WAPE = "WAPE"
SKILL = "Skill against HA4"

CALCULATED = {
    WAPE: "sum({absolute_error}) / sum({load})",
    SKILL: "1 - sum({absolute_error_with_ha4}) / sum({absolute_error_of_ha4})",
    "Bias": "(sum({mean}) - sum({load})) / sum({load})",
    "Share inside P10 to P90": "sum({inside_p10_p90}) / sum({departures})",
}
"""Ratios of sums, so that each chart has the right value for its own group. HA4: the mean of the last four weeks."""

LINE = "Line"
SHOWN_DAYS = 28


@dataclass(frozen=True)
class Placed:
    """A visual with its size in columns and rows of the grid."""

    visual: Json
    columns: int
    rows: int

    @property
    def id(self) -> str:
        (content,) = self.visual.values()
        return content["VisualId"]


def dashboard_definition() -> Json:
    """The definition without `DataSetIdentifierDeclarations`, which name an account."""
    filters = [
        *_filters("network", "accuracy", ("mode", "line_id")),
        *_filters("lines", "accuracy", ("mode",)),
        *_filters("departures", "departures", ()),
        parameter_filter("departures-line", "departures", "departures", "line_id", LINE),
        *_filters("drift", "drift", ("metric", "scope")),
    ]
    return {
        "Sheets": [_network(), _lines(), _departures(), _drift()],
        "CalculatedFields": [
            {"DataSetIdentifier": "accuracy", "Name": name, "Expression": expression}
            for name, expression in CALCULATED.items()
        ],
        "ParameterDeclarations": [
            {"StringParameterDeclaration": {"ParameterValueType": "SINGLE_VALUED", "Name": LINE}}
        ],
        "FilterGroups": filters,
    }


def _network() -> Json:
    day = dimension("network-day", "accuracy", "operating_date")
    mode = dimension("network-mode", "accuracy", "mode")
    horizon = dimension("network-horizon", "accuracy", "horizon_days")
    to_lines = open_sheet("network-open", "Show its lines", "lines")
    visuals = [
        *[Placed(kpi(f"kpi-{index}", name, calculated(f"kpi-{index}-value", name)), 9, 6) for index, name in enumerate(CALCULATED)],
        Placed(line_chart("wape-days", "WAPE by day and mode", day, [calculated("wape-days-value", WAPE)], mode), GRID_COLUMNS, 12),
        Placed(_modes("network", "WAPE by mode: click on one to see the lines", to_lines), 12, 12),
        Placed(line_chart("skill-days", "Skill against HA4 by day", dimension("skill-day", "accuracy", "operating_date"), [calculated("skill-days-value", SKILL)]), 12, 12),
        Placed(bar_chart("wape-horizons", "WAPE by days ahead", horizon, calculated("wape-horizons-value", WAPE)), 12, 12),
    ]  # fmt: skip
    return _sheet("network", "Network", visuals, {"mode": "Mode", "line_id": "Line"})


def _lines() -> Json:
    groups = [dimension(f"lines-{name}", "accuracy", name) for name in ("mode", "line_id")]
    values = [calculated(f"lines-value-{index}", name) for index, name in enumerate(CALCULATED)]
    values.append(aggregated("lines-departures", "accuracy", "departures", "SUM"))
    to_departures = open_sheet_of_row(
        "lines-open", "Show its departures", "departures", LINE, "lines-line_id"
    )
    only_mode = filter_sheet("lines-filter", "Show the lines of this mode alone")
    modes = _modes("lines", "WAPE by mode: click on one to see its lines alone", only_mode)
    lines = table("lines-table", "Lines: click on one to see its departures", groups, values, [to_departures])
    visuals = [Placed(modes, GRID_COLUMNS, 8), Placed(lines, GRID_COLUMNS, 24)]
    return _sheet("lines", "Lines", visuals, {"mode": "Mode"})


def _modes(sheet: str, title: str, action: Json) -> Json:
    mode = dimension(f"{sheet}-modes-mode", "accuracy", "mode")
    return bar_chart(f"{sheet}-modes", title, mode, calculated(f"{sheet}-modes-value", WAPE), [action])


def _departures() -> Json:
    loads = ("load", "mean", "p10", "p90")
    by_hour = [aggregated(f"hours-{name}", "departures", name, "AVERAGE") for name in loads]
    hour = dimension("hours-hour", "departures", "slot_hour")
    names = ("operating_date", "trip_id", "stop_sequence", "stop_id", "slot_hour")
    numbers = [
        aggregated(f"departure-{name}", "departures", name, "AVERAGE")
        for name in (*loads, "seats", "prob_above_seats", "absolute_error")
    ]
    groups = [dimension(f"departure-{name}", "departures", name) for name in names]
    visuals = [
        Placed(
            line_chart("hours", "Mean load by hour: observed, forecast, P10 and P90", hour, by_hour),
            GRID_COLUMNS,
            12,
        ),
        Placed(table("departures-table", "Departures", groups, numbers), GRID_COLUMNS, 24),
    ]
    sheet = _sheet("departures", "Departures of a line", visuals, {})
    control = parameter_control(LINE, "departures", "Line", "accuracy", "line_id")
    return sheet | {"ParameterControls": [control]}


def _drift() -> Json:
    day = dimension("drift-day", "drift", "operating_date")
    values = [aggregated(f"drift-{name}", "drift", name, "AVERAGE") for name in ("value", "warn", "act")]
    groups = [
        dimension(f"drift-table-{name}", "drift", name)
        for name in ("operating_date", "metric", "scope", "verdict", "detail")
    ]
    numbers = [
        aggregated(f"drift-table-value-{name}", "drift", name, "AVERAGE") for name in ("value", "warn", "act")
    ]
    visuals = [
        Placed(line_chart("drift-days", "A metric and its thresholds by day", day, values), GRID_COLUMNS, 12),
        Placed(table("drift-table", "Metrics", groups, numbers), GRID_COLUMNS, 18),
    ]
    return _sheet("drift", "Drift", visuals, {"metric": "Metric", "scope": "Network or mode"})


def _sheet(sheet: str, title: str, visuals: Sequence[Placed], choices: dict[str, str]) -> Json:
    """`choices` are the columns in which people choose values, with the titles of their controls."""
    controls = [dropdown(f"{sheet}-{name}", label) for name, label in choices.items()]
    return {
        "SheetId": sheet,
        "Name": title,
        "ContentType": "INTERACTIVE",
        "Visuals": [placed.visual for placed in visuals],
        "FilterControls": [*controls, days_control(f"{sheet}-days", "Days")],
        "Layouts": grid([(placed.id, placed.columns, placed.rows) for placed in visuals]),
    }


def _filters(sheet: str, data_set: str, names: Sequence[str]) -> list[Json]:
    choices = [choice_filter(f"{sheet}-{name}", sheet, data_set, name) for name in names]
    return [*choices, newest_days(f"{sheet}-days", sheet, data_set, "operating_date", SHOWN_DAYS)]
