import polars as pl
import pytest

from ruter_dagster.contracts.tables import SIRI_OCCUPANCY
from ruter_dagster.forecasting.occupancy import GTFS_STATUS, OccupancyThresholds, occupancy


def occupancy_of(load: float, seats: int | None, total: int | None) -> dict:
    row = pl.DataFrame(
        {"mean": [load], "seats": [seats], "total_capacity": [total]},
        schema={"mean": pl.Float64, "seats": pl.Int32, "total_capacity": pl.Int32},
    )
    return row.select(occupancy("mean", OccupancyThresholds())).row(0, named=True)


@pytest.mark.parametrize(
    ("load", "level", "status"),
    [
        (0.4, "empty", 0),
        (19, "manySeatsAvailable", 1),
        (20, "fewSeatsAvailable", 2),
        (35, "fewSeatsAvailable", 2),
        (36, "standingRoomOnly", 3),
        (88, "standingRoomOnly", 3),
        (89, "crushedStandingRoomOnly", 4),
        (100, "full", 5),
    ],
)
def test_forty_seats_and_sixty_standing_places(load, level, status):
    occupancy = occupancy_of(load, 40, 100)
    assert (occupancy["occupancy_level"], occupancy["occupancy_status"]) == (level, status)


def test_percentage_is_rounded_to_five():
    assert occupancy_of(52, 40, 100)["occupancy_percentage"] == 50
    assert occupancy_of(53, 40, 100)["occupancy_percentage"] == 55


def test_unknown_seats_and_capacity_give_unknown_occupancy():
    assert occupancy_of(5, None, None) == {
        "occupancy_level": "unknown", "occupancy_status": 7, "occupancy_percentage": None,
    }  # fmt: skip
    assert occupancy_of(60, 40, None)["occupancy_level"] == "standingRoomOnly"
    assert occupancy_of(60, 40, 0)["occupancy_percentage"] is None


def test_every_level_is_one_of_siri():
    assert set(GTFS_STATUS) <= set(SIRI_OCCUPANCY)
