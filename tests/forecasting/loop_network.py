"""A small simulated network with known true loads: a loop line, two lines with through services, and an ordinary line."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from ruter_dagster.contracts.tables import STOP_VISITS
from ruter_dagster.contracts.validation import conform

DAY = date(2026, 11, 20)
CAPACITY = 120


def simulated(
    seed: int = 7, missed: float = 0.05, trips: int = 12, vehicles: int = 4, block_ids: bool = False
) -> pl.DataFrame:
    """Stop visits of a day as counted (contract `STOP_VISITS`), and `true_load`.

    `missed` is the share of boarding and of alighting passengers that the counters miss; one stop in twenty has a count
    too many. Lines: `loop` (16 stops, riders stay on past its first stop), `north` and `south` (vehicles change from
    `north` to `south` at the centre, with a third of the riders), `plain` (everyone leaves at both ends).
    """
    random = np.random.default_rng(seed)
    frames = []
    for vehicle in range(vehicles):
        frames.append(_vehicle(random, "loop", vehicle, *_loop(random, trips, 16), missed, block_ids))
        frames.append(_vehicle(random, "through", vehicle, *_through(random, trips, 10), missed, block_ids))
        frames.append(_vehicle(random, "plain", vehicle, *_plain(random, trips, 14), missed, block_ids))
    return pl.concat(frames)


def _loop(random: np.random.Generator, trips: int, stops: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Boardings and alightings along all visits of a vehicle's day, each trip a round; riders stay 1 to 12 stops."""
    boardings, alightings = np.zeros(trips * stops, int), np.zeros(trips * stops, int)
    busy = 1 + np.sin(np.arange(trips) / trips * np.pi) * 2
    for place in range(trips * stops - 1):
        for ride in random.integers(1, 13, random.poisson(1.2 * busy[place // stops])):
            boardings[place] += 1
            alightings[min(place + ride, trips * stops - 1)] += 1
    return boardings, alightings, ["loop"] * trips


def _through(random: np.random.Generator, trips: int, stops: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Trips of `north` and `south` in turn: a third of those on board at the centre stay; all leave at the far ends."""
    boardings, alightings = np.zeros(trips * stops, int), np.zeros(trips * stops, int)
    for trip in range(trips):
        into_centre = trip % 2 == 0 and trip + 1 < trips
        first, last = trip * stops, (trip + 1) * stops - 1
        for place in range(first, last):
            for _ in range(random.poisson(2.5)):
                boardings[place] += 1
                stays = into_centre and random.random() < 1 / 3
                alightings[
                    random.integers(last + 2, last + stops) if stays else random.integers(place + 1, last + 1)
                ] += 1
    return boardings, alightings, ["north", "south"] * (trips // 2)  # fmt: skip


def _plain(random: np.random.Generator, trips: int, stops: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    boardings, alightings = np.zeros(trips * stops, int), np.zeros(trips * stops, int)
    for trip in range(trips):
        last = (trip + 1) * stops - 1
        for place in range(trip * stops, last):
            for end in random.integers(place + 1, last + 1, random.poisson(3)):
                boardings[place] += 1
                alightings[end] += 1
    return boardings, alightings, ["plain"] * trips


def _vehicle(random, name, vehicle, boardings, alightings, lines, missed, block_ids) -> pl.DataFrame:
    trips, visits = len(lines), len(boardings)
    stops = visits // trips
    seen = 1 - missed + random.normal(0, missed / 5, 2)
    counts = [
        random.binomial(side, share.clip(0, 1)) + (random.random(visits) < missed)
        for side, share in zip((boardings, alightings), seen, strict=True)
    ]
    trip, position = np.divmod(np.arange(visits), stops)
    start = datetime(DAY.year, DAY.month, DAY.day, 5, tzinfo=UTC) + timedelta(minutes=7 * vehicle)
    departures = [
        start + timedelta(minutes=2 * int(place) + 6 * int(number))
        for number, place in enumerate_trips(trip, stops)
    ]
    direction = (trip % 2 if name != "loop" else trip * 0).tolist()
    ends = {"loop": lambda number, place: f"loop-{place % (stops - 1)}"}
    stop_of = ends.get(
        name, lambda number, place: f"{name}-{place if number % 2 == 0 else stops - 1 - place}"
    )
    frame = pl.DataFrame(
        {
            "service_date": [DAY] * visits,
            "trip_id": [f"{name}-{vehicle}-{number}" for number in trip],
            "stop_sequence": (position + 1).tolist(),
            "trip_id_performed": [f"{name}-{vehicle}-{number}" for number in trip],
            "line_id": [lines[number] for number in trip],
            "mode": ["bus"] * visits,
            "direction_id": direction,
            "stop_id": [stop_of(int(n), int(p)) for n, p in zip(trip, position, strict=True)],
            "vehicle_id": [f"{name}-{vehicle}"] * visits,
            "scheduled_departure_time": departures,
            "actual_departure_time": departures,
            "boardings": counts[0].tolist(),
            "alightings": counts[1].tolist(),
            "departure_load": [None] * visits,
            "seats": [40] * visits,
            "total_capacity": [CAPACITY] * visits,
            "block_id": [f"block-{name}-{vehicle}" if block_ids else None] * visits,
        },
        schema_overrides={"departure_load": pl.Int32, "block_id": pl.String},
    )
    return conform(frame, STOP_VISITS).with_columns(true_load=pl.Series(np.cumsum(boardings - alightings)))


def enumerate_trips(trip: np.ndarray, stops: int) -> list[tuple[int, int]]:
    """Number of the trip and the visits before it, for each visit."""
    return [(int(number), place) for place, number in enumerate(trip)]
