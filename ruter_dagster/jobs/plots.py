"""Plots as PNG: Dagster's UI shows them as markdown of a materialisation, MLflow as files of a run."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from ruter_dagster.forecasting.evaluation import quantile_shares, reliability, scores
from ruter_dagster.forecasting.prediction_intervals import QUANTILES
from ruter_dagster.jobs.pipes import markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, ACCENT, SOFT = "#2b2b33", "#c9302c", "#b9c0cc"
_FORECASTS = {
    "wape": ("model", ACCENT),
    "wape_last_week": ("last week (LW)", INK),
    "wape_ha4": ("mean of 4 weeks (HA4)", "#7a8594"),
    "wape_ha8": ("mean of 8 weeks (HA8)", SOFT),
}
"""Label and colour of the model and the baselines, by their column of `evaluation.scores`."""

_THICKNESS = 1.5
"""Height of a bar whose two shares are equal, percent."""


@dataclass(frozen=True)
class Plot:
    """A plot and its title."""

    title: str
    png: bytes

    def markdown(self) -> dict[str, Any]:
        """Metadata of a materialisation, with the PNG inside."""
        return markdown(f"![{self.title}](data:image/png;base64,{base64.b64encode(self.png).decode()})")


def load_by_hour(loads: pl.DataFrame) -> Plot:
    """Plots the mean load by hour of the service day, one line for each mode (columns slot_hour, mode, load)."""
    means = loads.group_by("mode", "slot_hour").agg(pl.col("load").mean()).sort("mode", "slot_hour")
    figure = _figure()
    axes = figure.subplots()
    for (mode,), part in means.partition_by("mode", as_dict=True).items():
        axes.plot(part["slot_hour"], part["load"], label=mode)
    _label_hours(axes, "Load by hour")
    axes.legend(frameon=False)
    return _plot(figure, "Load by hour")


def forecast_against_truth(rows: pl.DataFrame) -> Plot:
    """Plots the mean load by hour with forecast and P10-P90 band (columns slot_hour, load, mean, p10, p90)."""
    hours = rows.group_by("slot_hour").agg(pl.col("load", "mean", "p10", "p90").mean()).sort("slot_hour")
    figure = _figure()
    axes = figure.subplots()
    axes.fill_between(hours["slot_hour"], hours["p10"], hours["p90"], color=SOFT, label="P10 to P90")
    axes.plot(hours["slot_hour"], hours["mean"], color=ACCENT, label="forecast")
    axes.plot(hours["slot_hour"], hours["load"], color=INK, linestyle="--", label="truth")
    _label_hours(axes, "Forecast against truth")
    axes.legend(frameon=False)
    return _plot(figure, "Forecast against truth")


def importance(gains: Mapping[str, float], most: int = 20) -> Plot:
    """Plots the features with the largest shares of the gain of the model's splits."""
    largest = sorted(gains.items(), key=lambda item: item[1])[-most:]
    total = sum(gains.values()) or 1.0
    figure = _figure(height=5.0)
    axes = figure.subplots()
    axes.barh([name for name, _ in largest], [100 * gain / total for _, gain in largest], color=ACCENT)
    axes.set(xlabel="share of the gain, %", title="Importance of features")
    return _plot(figure, "Importance of features")


def accuracy_by_horizon(forecasts: pl.DataFrame) -> Plot:
    """Plots the WAPE of the model and the baselines by horizon, of forecasts that all of them know."""
    by_horizon = scores(forecasts, ("horizon_days",))
    title = "Error by horizon, on dates that the model was not trained on"
    figure = _figure()
    axes = figure.subplots()
    bars = {
        label: (by_horizon[column] * 100, colour)
        for column, (label, colour) in _FORECASTS.items()
        if by_horizon[column].is_not_null().any()
    }
    _draw_bars(axes, by_horizon["horizon_days"].cast(pl.String).to_list(), bars)
    axes.set(xlabel="horizon, days after the issue date", ylabel="WAPE, % of the load", title=title)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return _plot(figure, title)


def calibration(forecasts: pl.DataFrame) -> Plot:
    """Plots how often loads lie below the quantiles and above the seats, beside the forecast shares."""
    title = "Calibration"
    crowding = reliability(forecasts)
    figure = _figure(height=3.8)
    if crowding.is_empty():
        _draw_quantile_shares(figure.subplots(), quantile_shares(forecasts))
    else:
        left, right = figure.subplots(1, 2)
        _draw_quantile_shares(left, quantile_shares(forecasts))
        _draw_reliability(right, crowding)
    return _plot(figure, title)


def _draw_quantile_shares(axes: Axes, shares: pl.DataFrame) -> None:
    """One bar per mode and quantile, from the share of loads below it to the share at or below it.

    A calibrated bar touches the dashed line of its level. Loads equal to the quantile, such as empty vehicles, make it long.
    """
    modes = shares["mode"].unique().sort().to_list()
    for index, level in enumerate(QUANTILES):
        rows = shares.filter(pl.col("level") == level).sort("mode")
        bottom = 100 * rows["below"] - _THICKNESS / 2
        height = 100 * (rows["at_most"] - rows["below"]) + _THICKNESS
        positions = [position + (index - 1) * 0.25 for position in range(len(modes))]
        axes.bar(positions, height, 0.2, bottom=bottom, color=(SOFT, ACCENT, INK)[index])
        axes.axhline(100 * level, color="#7a8594", linestyle="--", linewidth=0.8)
    axes.set_xticks(range(len(modes)), modes)
    axes.set_yticks([0, *(round(100 * level) for level in QUANTILES), 100])
    axes.set(
        xlabel="bars: from below to at most the quantile",
        ylabel="loads below P10, P50, P90, %",
        ylim=(0, 100),
        title="Quantiles (dashed: ideal)",
    )


def _draw_reliability(axes: Axes, crowding: pl.DataFrame) -> None:
    """Forecast and observed share of departures above the seats, by band of the forecast probability."""
    bands = [_percent_band(band) for band in crowding["band"]]
    groups = [f"{band}\n({count:,})" for band, count in zip(bands, crowding["departures"], strict=True)]
    bars = {"forecast": (100 * crowding["forecast"], SOFT), "observed": (100 * crowding["observed"], ACCENT)}
    _draw_bars(axes, groups, bars)
    axes.tick_params(axis="x", labelsize=7)
    axes.set(
        xlabel="forecast probability, % (departures)",
        ylabel="departures above the seats, %",
        title="Probability above the seats",
    )
    axes.legend(frameon=False)


def _percent_band(band: str) -> str:
    """`0.01 to 0.05` as `1 to 5`."""
    return " to ".join(f"{100 * float(bound):g}" for bound in band.split(" to "))


def _draw_bars(axes: Axes, groups: Sequence[str], bars: Mapping[str, tuple[pl.Series, str]]) -> None:
    """Bars side by side, for each group one of each label."""
    width = 0.8 / len(bars)
    for index, (label, (values, colour)) in enumerate(bars.items()):
        offset = (index - (len(bars) - 1) / 2) * width
        axes.bar(
            [position + offset for position in range(len(groups))], values, width, color=colour, label=label
        )
    axes.set_xticks(range(len(groups)), groups)


def _label_hours(axes: Axes, title: str) -> None:
    from matplotlib.ticker import MultipleLocator

    axes.set(xlabel="hour of the service day", ylabel="mean load, passengers", title=title)
    axes.xaxis.set_major_locator(MultipleLocator(2))


def _figure(height: float = 3.2) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(7.5, height), layout="constrained", dpi=90)


def _plot(figure: Figure, title: str) -> Plot:
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return Plot(title, image.getvalue())
