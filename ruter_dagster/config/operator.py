"""Properties of an operator, read from one TOML file: country, time zone, holidays, events, occupancy thresholds, capacities.

Settings of a deployment (environment, storage, Kafka) belong in settings.py.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from datetime import date, time, timedelta
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.carry_over import CarryOverMode
from ruter_dagster.contracts.drift import DRIFT_METRICS, MAX_DAYS, DriftMetric
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.tables import MODES

FILE_NAME = "operator.toml"
"""Name of an operator file, looked for beside TIDES tables."""

_NAME_TOKEN = r"^[A-Za-z0-9_.:-]+$"

DEFAULT_OPERATOR = "ruter"
"""Operator of sources with real counts for which no operator is named."""


class OperatorError(PermanentFailure):
    """An operator file is missing or wrong. The message lists file, key, value and what is allowed."""


def _check_time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("allowed: a name of the IANA time zone database, such as Europe/Oslo") from None
    return value


def _check_country_code(value: str) -> str:
    if not re.fullmatch("[A-Z]{2}", value):
        raise ValueError("allowed: two capital letters, an ISO 3166 code such as NO or DK")
    return value


def _check_mode(value: str) -> str:
    if value not in MODES:
        raise ValueError(f"allowed: {', '.join(MODES)}")
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Period(_Strict):
    """Dates from `first` to `last`, both included."""

    name: str
    first: date = Field(alias="from")
    last: date = Field(alias="to")

    @model_validator(mode="after")
    def _check_order(self) -> Period:
        if self.last < self.first:
            raise ValueError(f"`to` ({self.last}) is before `from` ({self.first})")
        return self

    @property
    def dates(self) -> frozenset[date]:
        return frozenset(self.first + timedelta(days) for days in range((self.last - self.first).days + 1))


class Event(_Strict):
    """An event with many passengers on an operating date, from one slot hour to another, both included.

    Empty `lines` and `stops` mean the whole network. If both are set, only these stops of these lines are affected.
    """

    name: str
    date: date
    from_hour: int = Field(0, ge=0, le=47)
    to_hour: int = Field(47, ge=0, le=47)
    lines: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()


class Rename(_Strict):
    """A line or stop with another id before the date `first`. Counts with the former id `was` become its history."""

    line: str | None = None
    stop: str | None = None
    was: str
    first: date = Field(alias="from")

    @model_validator(mode="after")
    def _check_ids(self) -> Rename:
        if (self.line is None) == (self.stop is None):
            raise ValueError("a rename has either `line` or `stop`, the new id, and `was`, the former one")
        if self.was in (self.line, self.stop):
            raise ValueError(f"`was` ({self.was}) equals the new id")
        return self


class OccupancyThresholds(_Strict):
    """Bounds of the occupancy levels, with which `forecasting` turns loads into levels."""

    empty_below: float = Field(0.5, ge=0, description="Empty below this number of expected passengers")
    many_seats_free_above: float = Field(
        0.5, ge=0, le=1, description="Many seats free above this share of free seats"
    )
    few_seats_free_above: float = Field(
        0.1, ge=0, le=1, description="Few seats free above this share of free seats, else standing"
    )
    crushed_standing_above: float = Field(
        0.8, ge=0, le=2, description="Crushed standing above this share of occupied standing places"
    )
    full_above: float = Field(1.0, gt=0, le=2, description="Full above this share of all occupied places")

    @model_validator(mode="after")
    def _check_order(self) -> OccupancyThresholds:
        if self.few_seats_free_above > self.many_seats_free_above:
            raise ValueError("few_seats_free_above must not exceed many_seats_free_above")
        return self


class Loads(_Strict):
    """Whether passengers stay in the vehicle between two trips, as on loop lines and through services."""

    carry_over: CarryOverMode = Field(
        "infer", description="Carry loads over if the date's counts show it (infer), always, or never"
    )
    lines: dict[str, CarryOverMode] = Field(
        default_factory=dict, description="Mode of single lines, by the line of the trip that ends"
    )
    longest_wait_minutes: float = Field(
        20, ge=0, le=120, description="Longest wait between the end of a trip and the vehicle's next trip"
    )


class RejectLimits(_Strict):
    """The shares of a date's stop visits that may be rejected. A date with more rejected rows is blocked.

    A vehicle type is a mode and a capacity. Rejected rows of one or two trips never block, because a share of few rows says little.
    """

    share_of_date: float = Field(0.02, ge=0, le=1, description="Largest share of a date's rows")
    share_of_line: float = Field(0.2, ge=0, le=1, description="Largest share of a line's rows on a date")
    share_of_vehicle_type: float = Field(
        0.2, ge=0, le=1, description="Largest share of the rows of a vehicle type on a date"
    )
    least_trips: int = Field(3, ge=1, description="Fewer trips than this with rejected rows never block")


class Capacity(_Strict):
    """Places in a vehicle: `seats`, and `total` with the standing places."""

    seats: int = Field(ge=0, le=2000)
    total: int = Field(ge=0, le=5000)

    @model_validator(mode="after")
    def _check_seats(self) -> Capacity:
        if self.seats > self.total:
            raise ValueError(f"`seats` ({self.seats}) must not exceed `total` ({self.total})")
        return self


class Capacities(_Strict):
    """Capacities of planned departures whose vehicle is unknown. A line's capacity overrides its mode's."""

    modes: dict[Annotated[str, AfterValidator(_check_mode)], Capacity] = Field(
        default_factory=dict, description="Capacity by mode"
    )
    lines: dict[str, Capacity] = Field(default_factory=dict, description="Capacity by line id")


class FeedIdentifiers(_Strict):
    """How feeds name producer, operator and stops. The names are XML name tokens: letters, digits and `. : _ -`."""

    codespace: str | None = Field(
        None,
        pattern=_NAME_TOKEN,
        description="Producer and data source, for instance the NeTEx codespace. Default: the operator's name",
    )
    operator_ref: str | None = Field(
        None, pattern=_NAME_TOKEN, description="Operator of all journeys. Default: the codespace"
    )
    first_stop_sequence: int | None = Field(
        None,
        ge=0,
        description="The stop_sequence of each trip's first stop in the operator's GTFS feed, if its numbers have no gaps. "
        "Default: unknown",
    )


class DriftThresholds(_Strict):
    """Thresholds of one drift metric that differ from the usual ones (contracts/drift.py)."""

    warn: float | None = Field(None, description="A warning beyond this value")
    act: float | None = Field(None, description="A training is requested beyond this value")
    days_to_warn: int | None = Field(
        None, ge=1, le=MAX_DAYS, description="Dates in a row that a warning needs"
    )
    days_to_act: int | None = Field(
        None, ge=1, le=MAX_DAYS, description="Dates in a row that a request needs"
    )
    days_to_clear: int | None = Field(
        None, ge=1, le=MAX_DAYS, description="Dates within the clear threshold that end a warning"
    )
    clear: float | None = Field(
        None,
        ge=0,
        le=1,
        description="The clear threshold, as a share of the distance from the usual value to `warn`",
    )


class Drift(_Strict):
    """When drift warns and when a warning ends. `metrics` has the thresholds of single metrics."""

    clear: float | None = Field(None, ge=0, le=1, description="`clear` of every metric without its own")
    days_to_clear: int | None = Field(
        None, ge=1, le=MAX_DAYS, description="`days_to_clear` of every metric without its own"
    )
    metrics: dict[str, DriftThresholds] = Field(default_factory=dict, description="Thresholds by metric")

    @model_validator(mode="after")
    def _check_metrics(self) -> Drift:
        names = [metric.name for metric in DRIFT_METRICS]
        for name in self.metrics:
            if name not in names:
                similar = get_close_matches(name, names, n=1)
                hint = f"Did you mean {similar[0]}?" if similar else f"Allowed: {', '.join(names)}"
                raise ValueError(f"drift.metrics: unknown metric {name}. {hint}")
        self.resolved()
        return self

    def resolved(self) -> tuple[DriftMetric, ...]:
        """The drift metrics with these thresholds. Raises `ValueError` if a metric's thresholds contradict each other."""
        return tuple(self._resolve(metric) for metric in DRIFT_METRICS)

    def _resolve(self, metric: DriftMetric) -> DriftMetric:
        of_all: dict[str, Any] = {}
        if metric.clear == DriftMetric.clear:
            of_all["clear"] = self.clear
        if metric.days_to_clear == DriftMetric.days_to_clear:
            of_all["days_to_clear"] = self.days_to_clear
        own = self.metrics.get(metric.name, DriftThresholds()).model_dump()  # pyright: ignore[reportCallIssue]
        changes = _without_none(of_all) | _without_none(own)
        if metric.act is None and "act" in changes:
            raise ValueError(
                f"drift.metrics.{metric.name}: this metric never requests a training; remove `act`"
            )
        resolved = replace(metric, **changes)
        if fault := resolved.fault():
            raise ValueError(f"drift.metrics.{metric.name}: {fault}")
        return resolved


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


class Operator(_Strict):
    """The properties of an operator. `load_operator` reads them from a file."""

    name: str
    country: Annotated[str, AfterValidator(_check_country_code)] = Field(
        description="ISO 3166 code of the public holidays"
    )
    subdivision: str | None = Field(
        None, description="State or region, if its public holidays differ from the country's"
    )
    time_zone: Annotated[str, AfterValidator(_check_time_zone)]
    history_start: date = Field(description="First operating date with counts, which is the first partition")
    day_closes_at: time = Field(
        time(4), description="Local time at which the previous operating day has ended"
    )
    school_holidays: tuple[Period, ...] = ()
    events: tuple[Event, ...] = ()
    renames: tuple[Rename, ...] = ()
    events_file: str | None = Field(
        None, description="TOML file with more [[events]], relative to the operator file"
    )
    occupancy: OccupancyThresholds = OccupancyThresholds()  # pyright: ignore[reportCallIssue]
    loads: Loads = Loads()  # pyright: ignore[reportCallIssue]
    rejects: RejectLimits = RejectLimits()  # pyright: ignore[reportCallIssue]
    capacities: Capacities = Field(
        default=Capacities(),  # pyright: ignore[reportCallIssue]
        description="Seats and total places of planned departures whose vehicle is unknown",
    )
    feed_identifiers: FeedIdentifiers = FeedIdentifiers()  # pyright: ignore[reportCallIssue]
    drift: Drift = Drift()  # pyright: ignore[reportCallIssue]
    route_types: dict[str, Annotated[str, AfterValidator(_check_mode)]] = Field(
        default_factory=dict,
        description="Mode of a TIDES route_type, or of a GTFS route_type number, if it differs from the usual one",
    )

    @model_validator(mode="after")
    def _check_renames(self) -> Operator:
        for kind in ("line", "stop"):
            former = [(rename.was, rename.first) for rename in self.renames if getattr(rename, kind)]
            for was, first in sorted(set(former)):
                if former.count((was, first)) > 1:
                    raise ValueError(f"renames: {kind} {was} is renamed twice from {first}; keep one of them")
        return self

    @property
    def codespace(self) -> str:
        """The codespace of feeds; by default the name, with `-` in place of signs that no XML name token has."""
        return (
            self.feed_identifiers.codespace
            or re.sub(r"[^A-Za-z0-9_.:-]+", "-", self.name).strip("-")
            or "operator"
        )

    def require_public_holidays(self) -> None:
        """Raises `OperatorError` if the public holidays of country and subdivision are unknown.

        Reading the file does not check this: Dagster only needs dates and times, and need not load the holidays.
        """
        from holidays import country_holidays

        try:
            country_holidays(self.country, subdiv=self.subdivision)
        except NotImplementedError:
            keys = f"country = {self.country!r}" + (
                f", subdivision = {self.subdivision!r}" if self.subdivision else ""
            )
            raise OperatorError(
                f"Operator {self.name}: {keys}: allowed: ISO 3166 codes of the package holidays, such as NO or DK"
            ) from None

    def school_holiday_dates(self) -> frozenset[date]:
        """Every date of every school holiday."""
        return frozenset().union(*(period.dates for period in self.school_holidays))


def operator_of(settings: Settings) -> Operator:
    """The operator of `RUTER_OPERATOR`, else the demo network's, else the one beside the TIDES tables, else Ruter."""
    return load_operator(operator_location(settings)[0])


def operator_location(settings: Settings) -> tuple[str, bool]:
    """Name or path of the operator file, and whether it is only the default for real counts without a named operator."""
    if settings.operator:
        return settings.operator, False
    if settings.source == "demo":
        return "demo", False
    if settings.source == "tides":
        tides_file = f"{(settings.tides_path or '').rstrip('/')}/{FILE_NAME}"
        if _read(tides_file) is not None:
            return tides_file, False
    return DEFAULT_OPERATOR, True


def describe_operator(settings: Settings) -> str:
    """One line about the operator in use, and a second line with a warning if no operator was named."""
    location, is_default = operator_location(settings)
    operator = load_operator(location)
    region = f"{operator.country}-{operator.subdivision}" if operator.subdivision else operator.country
    line = f"Operator {operator.name}: holidays of {region}, time zone {operator.time_zone}, from {_locate(location)}"
    if not is_default:
        return line
    remedy = "set RUTER_OPERATOR"
    if settings.source == "tides":
        remedy = f"put an {FILE_NAME} into {settings.tides_path}, or {remedy}"
    return f"{line}\nWarning: this operator is only the default. Wrong holidays and time zone make forecasts worse: {remedy}"


def load_operator(name_or_path: str | Path = "ruter") -> Operator:
    """Reads an operator file of the package by name (`ruter`), or another one by path or `s3://` address.

    Raises `OperatorError` that lists the file and each wrong key, its value and what is allowed.
    """
    path = _locate(str(name_or_path))
    content = _read_toml(path)
    events_file = content.get("events_file")
    if isinstance(events_file, str):
        events_path = f"{path.rpartition('/')[0]}/{events_file}"
        content["events"] = [*content.get("events", []), *_read_toml(events_path).get("events", [])]
    try:
        return Operator.model_validate(content)
    except ValidationError as error:
        raise OperatorError(
            "\n".join([f"Operator file {path} is wrong:", *map(_describe, error.errors())])
        ) from None


def _locate(name_or_path: str) -> str:
    """Path of an operator file. A name without folder and ending is a file of the package."""
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        return name_or_path if name_or_path.endswith(".toml") else f"{name_or_path.rstrip('/')}/{FILE_NAME}"
    package = Path(str(files("ruter_dagster.config"))) / "operators"
    path = package / f"{name_or_path}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in package.glob("*.toml")))
        raise OperatorError(
            f"Operator {name_or_path!r} is unknown; allowed: {known}, or the path of an operator file"
        )
    return str(path)


def _read_toml(path: str) -> dict[str, Any]:
    content = _read(path)
    if content is None:
        raise OperatorError(f"There is no operator file {path}; check the path")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OperatorError(f"Operator file {path} is not valid TOML in UTF-8: {error}") from None


def _read(path: str) -> bytes | None:
    """The file's content; None if the file does not exist."""
    if "://" not in path:
        try:
            return Path(path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OperatorError(
                f"Operator file {path} cannot be read ({error.strerror}); check its permissions"
            ) from None
    import obstore

    from ruter_dagster.aws.object_store import open_store

    folder, _, name = path.rpartition("/")
    try:
        return bytes(obstore.get(open_store(folder), name).bytes())
    except FileNotFoundError:
        return None
    except obstore.exceptions.BaseError as error:
        reason = str(error).splitlines()[0]
        raise OperatorError(
            f"Operator file {path} cannot be read ({reason}); check the address and permissions"
        ) from None


def _describe(error: Any) -> str:
    """One line for a wrong key: the key, its value and what is allowed."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    message = error["msg"].removeprefix("Value error, ")
    if not key:
        return f"  {message}"
    if error["type"] == "missing":
        return f"  {key} is missing"
    if error["type"] == "extra_forbidden":
        return f"  Unknown key {key}{_similar_key(key)}"
    return f"  {key} = {error['input']!r}: {message}"


def _similar_key(key: str) -> str:
    """A suggestion for an unknown key of the file, or the allowed keys."""
    if "." in key or "[" in key:
        return "; remove it or correct its name"
    similar = get_close_matches(key, Operator.model_fields, n=1)
    return f". Did you mean {similar[0]}?" if similar else f"; allowed: {', '.join(Operator.model_fields)}"
