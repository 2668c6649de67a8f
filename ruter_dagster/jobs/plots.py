"""Plots for the Dagster UI, as markdown with an embedded PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ruter_dagster.jobs.pipes import markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, ACCENT, SOFT = "#2b2b33", "#c9302c", "#b9c0cc"


def load_by_hour(loads: pl.DataFrame) -> dict[str, Any] | None:
    """Plots the mean load by hour of the service day, one line for each mode (columns slot_hour, mode, load)."""
    means = loads.group_by("mode", "slot_hour").agg(pl.col("load").mean()).sort("mode", "slot_hour")
    figure = _figure()
    axes = figure.subplots()
    for (mode,), part in means.partition_by("mode", as_dict=True).items():
        axes.plot(part["slot_hour"], part["load"], label=mode)
    _label_hours(axes, "Load by hour")
    axes.legend(frameon=False)
    return _markdown(figure, "Load by hour")


def forecast_against_truth(rows: pl.DataFrame) -> dict[str, Any]:
    """Plots the mean load by hour with forecast and P10-P90 band (columns slot_hour, load, mean, p10, p90)."""
    hours = rows.group_by("slot_hour").agg(pl.col("load", "mean", "p10", "p90").mean()).sort("slot_hour")
    figure = _figure()
    axes = figure.subplots()
    axes.fill_between(hours["slot_hour"], hours["p10"], hours["p90"], color=SOFT, label="P10 to P90")
    axes.plot(hours["slot_hour"], hours["mean"], color=ACCENT, label="forecast")
    axes.plot(hours["slot_hour"], hours["load"], color=INK, linestyle="--", label="truth")
    _label_hours(axes, "Forecast against truth")
    axes.legend(frameon=False)
    return _markdown(figure, "Forecast against truth")


def importance(gains: Mapping[str, float], most: int = 20) -> dict[str, Any]:
    """Plots the features with the largest shares of the gain of the model's splits."""
    largest = sorted(gains.items(), key=lambda item: item[1])[-most:]
    total = sum(gains.values()) or 1.0
    figure = _figure(height=5.0)
    axes = figure.subplots()
    axes.barh([name for name, _ in largest], [100 * gain / total for _, gain in largest], color=ACCENT)
    axes.set(xlabel="share of the gain, %", title="Importance of features")
    return _markdown(figure, "Importance of features")


def _label_hours(axes: Axes, title: str) -> None:
    from matplotlib.ticker import MultipleLocator

    axes.set(xlabel="hour of the service day", ylabel="mean load, passengers", title=title)
    axes.xaxis.set_major_locator(MultipleLocator(2))


def _figure(height: float = 3.2) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(7.5, height), layout="constrained", dpi=90)


def _markdown(figure: Figure, title: str) -> dict[str, Any]:
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return markdown(f"![{title}](data:image/png;base64,{base64.b64encode(image.getvalue()).decode()})")
