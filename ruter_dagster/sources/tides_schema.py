"""The tables of the TIDES standard that are read: columns, types and allowed values.

Source: the TIDES schemas (tides-transit.org), version 1.0. Plain values only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["string", "integer", "date", "datetime"]
Cost = Literal["row", "counts", "load", "cell"]
"""What cannot be used because of a wrong cell: its row, the row's counts, the row's load, or only the cell."""

MISSING_VALUES = ("", "NA", "NaN")
IN_SERVICE = "In service"
SCHEDULED = "Scheduled"


@dataclass(frozen=True)
class TidesColumn:
    """A column that is read.

    - `present`: the file must have the column. `filled`: every row must have a value.
    - `minimum`, `allowed`: smallest value, allowed values.
    - `cost`: what cannot be used because of a wrong cell.
    - `unknown`: a number that means an unknown value.
    """

    name: str
    kind: Kind = "string"
    present: bool = False
    filled: bool = False
    minimum: int | None = None
    allowed: tuple[str, ...] | None = None
    cost: Cost = "row"
    unknown: int | None = None


@dataclass(frozen=True)
class TidesTable:
    """A table, stored as files of one name.

    - `dated`: it has the column `service_date`, and may have one file for each date.
    - `optional`: the folder may lack it; it then has no rows.
    - `one_of`: a file needs every column of at least one of these groups; `a|b` is either column.
    - `ignored`: columns of the standard that are not read.
    """

    name: str
    columns: tuple[TidesColumn, ...]
    dated: bool = True
    optional: bool = False
    one_of: tuple[tuple[str, ...], ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


ROUTE_TYPES_BY_MODE: dict[str, tuple[str, ...]] = {
    "bus": (
        "Bus", "Trolleybus", "Coach Service", "International Coach Service", "National Coach Service",
        "Shuttle Coach Service", "Regional Coach Service", "Special Coach Service", "Sightseeing Coach Service",
        "Tourist Coach Service", "Commuter Coach Service", "All Coach Services", "Bus Service", "Regional Bus Service",
        "Express Bus Service", "Stopping Bus Service", "Local Bus Service", "Night Bus Service", "Post Bus Service",
        "Special Needs Bus", "Mobility Bus Service", "Mobility Bus for Registered Disabled", "Sightseeing Bus",
        "Shuttle Bus", "School Bus", "School and Public Service Bus", "Rail Replacement Bus Service",
        "Demand and Response Bus Service", "All Bus Services", "Trolleybus Service",
    ),
    "tram": (
        "Tram / Streetcar / Light rail", "Cable tram", "Tram Service", "City Tram Service", "Local Tram Service",
        "Regional Tram Service", "Sightseeing Tram Service", "Shuttle Tram Service", "All Tram Services",
    ),
    "metro": (
        "Subway / Metro", "Monorail", "Urban Railway Service", "Metro Service", "Underground Service",
        "All Urban Railway Services",
    ),
    "boat": ("Ferry", "Water Transport Service", "Ferry Service", "Water Taxi Service"),
    "rail": (
        "Rail", "Railway Service", "High Speed Rail Service", "Long Distance Trains", "Inter Regional Rail Service",
        "Car Transport Rail Service", "Sleeper Rail Service", "Regional Rail Service", "Tourist Railway Service",
        "Rail Shuttle (Within Complex)", "Suburban Railway", "Replacement Rail Service", "Special Rail Service",
        "Lorry Transport Rail Service", "All Rail Services", "Cross-Country Rail Service",
        "Vehicle Transport Rail Service", "Rack and Pinion Railway", "Additional Rail Service", "Funicular",
        "Funicular Service",
    ),
}  # fmt: skip
ROUTE_TYPES_WITHOUT_MODE = (
    "Aerial lift", "Air Service", "Aerial Lift Service", "Telecabin Service", "Cable Car Service", "Elevator Service",
    "Chair Lift Service", "Drag Lift Service", "Small Telecabin Service", "All Telecabin Services", "Taxi Service",
    "Communal Taxi Service", "Rail Taxi Service", "Bike Taxi Service", "Licensed Taxi Service",
    "Private Hire Service Vehicle", "All Taxi Services", "Miscellaneous Service", "Horse-drawn Carriage",
)  # fmt: skip
"""Route types of TIDES without a mode. `route_types` of the operator file can give them one."""

ROUTE_TYPES = (*(name for names in ROUTE_TYPES_BY_MODE.values() for name in names), *ROUTE_TYPES_WITHOUT_MODE)
TRIP_TYPES = (
    IN_SERVICE, "Deadhead", "Layover", "Pullout", "Pullin", "Extra Pullout", "Extra Pullin", "Deadhead To Layover",
    "Deadhead From Layover", "Other not in service",
)  # fmt: skip

STOP_VISITS = TidesTable(
    name="stop_visits",
    columns=(
        TidesColumn("service_date", "date", present=True, filled=True),
        TidesColumn("trip_id_performed", present=True, filled=True),
        TidesColumn("trip_stop_sequence", "integer", present=True, filled=True),
        TidesColumn("vehicle_id"),
        TidesColumn("stop_id", present=True, filled=True),
        TidesColumn("schedule_arrival_time", "datetime", cost="cell"),
        TidesColumn("schedule_departure_time", "datetime", present=True),
        TidesColumn("actual_arrival_time", "datetime", cost="cell"),
        TidesColumn("actual_departure_time", "datetime", cost="cell"),
        *(
            TidesColumn(name, "integer", minimum=0, cost="counts")
            for name in ("boarding_1", "alighting_1", "boarding_2", "alighting_2")
        ),
        TidesColumn("departure_load", "integer", cost="load", unknown=-1),
        TidesColumn("schedule_relationship", allowed=(SCHEDULED, "Skipped", "Added", "Missing"), cost="cell"),
    ),
    one_of=(("departure_load",), ("boarding_1|boarding_2", "alighting_1|alighting_2")),
    ignored=(
        "scheduled_stop_sequence",
        "pattern_id",
        "dwell",
        "timepoint",
        "distance",
        "door_open",
        "door_close",
        "door_status",
        "ramp_deployed_time",
        "ramp_failure",
        "kneel_deployed_time",
        "lift_deployed_time",
        "bike_rack_deployed",
        "bike_load",
        "revenue",
        "number_of_transactions",
        *(
            f"transaction_{kind}_{medium}"
            for kind in ("revenue", "count")
            for medium in ("cash", "smartcard", "magcard", "bankcard", "nfc", "optical", "operator", "other")
        ),
    ),  # fmt: skip
)
TRIPS_PERFORMED = TidesTable(
    name="trips_performed",
    columns=(
        TidesColumn("service_date", "date", present=True, filled=True),
        TidesColumn("trip_id_performed", present=True, filled=True),
        TidesColumn("vehicle_id"),
        TidesColumn("trip_id_scheduled"),
        TidesColumn("route_id", present=True),
        TidesColumn("route_type", present=True),
        TidesColumn("direction_id", "integer"),
        TidesColumn("block_id"),
        TidesColumn("trip_type", allowed=TRIP_TYPES, cost="cell"),
        TidesColumn(
            "schedule_relationship",
            allowed=(SCHEDULED, "Added", "Unscheduled", "Canceled", "Duplicated"),
            cost="cell",
        ),
    ),
    ignored=(
        "route_type_agency",
        "shape_id",
        "pattern_id",
        "operator_id",
        "trip_start_stop_id",
        "trip_end_stop_id",
        "schedule_trip_start",
        "schedule_trip_end",
        "actual_trip_start",
        "actual_trip_end",
        "ntd_mode",
    ),  # fmt: skip
)
VEHICLES = TidesTable(
    name="vehicles",
    columns=(
        TidesColumn("vehicle_id", present=True, filled=True),
        TidesColumn("capacity_seated", "integer", minimum=0, cost="cell"),
        TidesColumn("capacity_standing", "integer", minimum=0, cost="cell"),
    ),
    dated=False,
    optional=True,
    ignored=(
        "vehicle_start",
        "vehicle_end",
        "model_name",
        "facility_name",
        "wheelchair_capacity",
        "capacity_bike",
        "bike_rack",
    ),  # fmt: skip
)
