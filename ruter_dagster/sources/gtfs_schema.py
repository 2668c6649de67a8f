"""The files and columns of the GTFS standard that are read. Plain values only.

Source: the GTFS Schedule reference (gtfs.org).
"""

from __future__ import annotations

from dataclasses import dataclass

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True)
class GtfsFile:
    """A file of a feed: its required columns, optional columns that are used, and ignored columns.

    `presence` says whether a feed must have the file.
    """

    name: str
    presence: str
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


AGENCY = GtfsFile(
    "agency.txt",
    "required",
    required=("agency_timezone",),
    ignored=(
        "agency_id",
        "agency_name",
        "agency_url",
        "agency_lang",
        "agency_phone",
        "agency_fare_url",
        "agency_email",
    ),
)
ROUTES = GtfsFile(
    "routes.txt",
    "required",
    required=("route_id", "route_type"),
    optional=("route_short_name", "route_long_name"),
    ignored=(
        "agency_id", "route_desc", "route_url", "route_color", "route_text_color", "route_sort_order", "continuous_pickup",
        "continuous_drop_off", "network_id",
    ),
)  # fmt: skip
STOPS = GtfsFile(
    "stops.txt",
    "required",
    required=("stop_id",),
    optional=("stop_code", "stop_name", "stop_lat", "stop_lon"),
    ignored=(
        "tts_stop_name", "stop_desc", "zone_id", "stop_url", "location_type", "parent_station", "stop_timezone",
        "wheelchair_boarding", "level_id", "platform_code",
    ),
)  # fmt: skip
TRIPS = GtfsFile(
    "trips.txt",
    "required",
    required=("trip_id", "route_id", "service_id"),
    optional=("direction_id", "block_id"),
    ignored=("trip_headsign", "trip_short_name", "shape_id", "wheelchair_accessible", "bikes_allowed"),
)
STOP_TIMES = GtfsFile(
    "stop_times.txt",
    "required",
    required=("trip_id", "arrival_time", "departure_time", "stop_id", "stop_sequence"),
    ignored=(
        "stop_headsign", "pickup_type", "drop_off_type", "continuous_pickup", "continuous_drop_off", "shape_dist_traveled",
        "timepoint",
    ),
)  # fmt: skip
CALENDAR = GtfsFile(
    "calendar.txt",
    "this file, or calendar_dates.txt, or both",
    required=("service_id", *WEEKDAYS, "start_date", "end_date"),
)
CALENDAR_DATES = GtfsFile(
    "calendar_dates.txt",
    "this file, or calendar.txt, or both",
    required=("service_id", "date", "exception_type"),
)
FREQUENCIES = GtfsFile(
    "frequencies.txt",
    "optional",
    required=("trip_id", "start_time", "end_time", "headway_secs"),
    ignored=("exact_times",),
)
FEED_INFO = GtfsFile(
    "feed_info.txt",
    "optional",
    optional=("feed_version", "feed_start_date", "feed_end_date"),
    ignored=(
        "feed_publisher_name", "feed_publisher_url", "feed_lang", "default_lang", "feed_contact_email", "feed_contact_url",
    ),
)  # fmt: skip

GTFS_FILES = (AGENCY, ROUTES, STOPS, TRIPS, STOP_TIMES, CALENDAR, CALENDAR_DATES, FREQUENCIES, FEED_INFO)
"""The files of a feed that are read; every other file is ignored."""
