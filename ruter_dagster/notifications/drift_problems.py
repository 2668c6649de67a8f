"""Drift as problems of incidents: one for each metric, with all scopes that exceed a threshold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime, time, tzinfo
from types import MappingProxyType
from typing import Any

from ruter_dagster.contracts.drift import DRIFT_METRICS, drift_title
from ruter_dagster.notifications.incidents import Key, Problem, Severity

_SEVERITIES = {"warn": Severity.WARNING, "act": Severity.ERROR}
_ACT_REMEDY = "The sensor drift_check requests a training. The champion stays in use until a new model passes the release gate"
_WARN_REMEDY = "No training is requested. If the metric concerns counts, vehicles or lines, look for an error at the source"

_REMEDIES = {metric.name: metric.remedy for metric in DRIFT_METRICS}


def drift_problems(
    rows: Iterable[Mapping[str, Any]],
    zone: tzinfo = UTC,
    open_scopes: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> tuple[list[Problem], dict[Key, str]]:
    """The problems of the newest measured operating date, and the metrics that are measured ok.

    Args:
        rows: Rows of monitoring.drift of one operating date: operating_date (date or ISO text), metric, scope and verdict. Rows
            with the verdict warn or act also have value, warn, act and optionally detail (vehicles or lines).
        zone: Time zone of the operating date, at whose beginning a problem begins.
        open_scopes: The scopes of open incidents, by metric.

    Returns:
        One problem for each metric that warns or acts in any scope, and the keys of metrics that are ok with the reason. A
        metric is ok if at least one verdict and those of all its open scopes are ok. Other metrics are in neither.
    """
    by_metric: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_metric.setdefault(row["metric"], []).append(row)
    active: list[Problem] = []
    over: dict[Key, str] = {}
    for metric, of_metric in by_metric.items():
        ok = {row["scope"] for row in of_metric if row["verdict"] == "ok"}
        still_open = set(open_scopes.get(metric, ())) - ok
        if beyond := [row for row in of_metric if row["verdict"] in _SEVERITIES]:
            scopes = still_open.union(row["scope"] for row in beyond)
            active.append(_problem(metric, beyond, zone).model_copy(update={"scopes": tuple(sorted(scopes))}))
        elif ok and not still_open:
            over["drift", metric] = f"measured ok on {of_metric[0]['operating_date']}"
    return active, over


def _problem(metric: str, rows: list[Mapping[str, Any]], zone: tzinfo) -> Problem:
    rows = sorted(rows, key=lambda row: (-_SEVERITIES[row["verdict"]], row["scope"]))
    day, severity = str(rows[0]["operating_date"]), _SEVERITIES[rows[0]["verdict"]]
    scopes = [f"{row['scope']}: {row['detail']}" if row.get("detail") else row["scope"] for row in rows]
    word = "requires action" if severity is Severity.ERROR else "warning"
    return Problem(
        kind="drift",
        subject=metric,
        severity=severity,
        title=f"Drift {word}: {_title(metric)} on {day}",
        since=datetime.combine(date.fromisoformat(day), time(), zone),
        affected=(f"operating date {day}", *scopes),
        details="\n".join(map(describe_drift, rows)),
        remedy=_ACT_REMEDY if severity is Severity.ERROR else _REMEDIES.get(metric) or _WARN_REMEDY,
    )


def _title(metric: str) -> str:
    """The metric's title within a sentence."""
    title = drift_title(metric)
    return title[:1].lower() + title[1:]


def describe_drift(row: Mapping[str, Any]) -> str:
    """One row of monitoring.drift that exceeds a threshold, as a line of text with the metric's title and name."""
    title, metric = _title(row["metric"]), row["metric"]
    named = metric if title == metric else f"{title} ({metric})"
    line = "{operating_date} {named} of {scope}: {value:.3g}, {verdict} (warns at {warn:g}".format(
        named=named, **row
    )
    acts = row.get("act")
    return f"{line}, acts at {acts:g})" if isinstance(acts, (int, float)) else f"{line}, never acts)"
