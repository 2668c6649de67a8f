"""A write replaces exactly its own dates in one commit; a table follows its contract."""

import shutil
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import update_table_metadata

from ruter_dagster.contracts.errors import BadInput, PermanentFailure
from ruter_dagster.contracts.tables import Column
from ruter_dagster.contracts.validation import conform, content_hash, empty_frame
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.snapshots import DateMissing
from ruter_dagster.storage.tables import TableStore
from tests.storage.frames import DAY, NEXT_DAY, VISITS, visits


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    return TableStore(local_catalog(tmp_path))


def iceberg(tmp_path: Path):
    return load_catalog("ruter", **local_catalog(tmp_path)).load_table(VISITS.name)


def data_files(tmp_path: Path, day: date) -> Path:
    return tmp_path / "tables" / "raw" / "visits" / "data" / f"service_date={day}"


def test_written_rows_are_read_sorted_with_the_contracts_types(store: TableStore):
    written = pl.concat([visits(NEXT_DAY), visits(DAY, load=None)])
    result = store.write(
        VISITS, written.sample(fraction=1, shuffle=True, seed=1), [DAY, NEXT_DAY], code_version="1"
    )
    assert store.read(VISITS, [DAY, NEXT_DAY]).equals(conform(written, VISITS).sort(VISITS.key))
    assert result.rows == 40
    assert result.unchanged == ()
    assert store.current_snapshot(VISITS) == result.snapshot_id


def test_write_replaces_its_own_dates_only(store: TableStore):
    store.write(VISITS, pl.concat([visits(DAY), visits(NEXT_DAY)]), [DAY, NEXT_DAY], code_version="1")
    store.write(VISITS, visits(DAY, load=99.0, rows=3), [DAY], code_version="1")
    assert store.read(VISITS, [DAY])["load"].to_list() == [99.0] * 3
    assert store.read(VISITS, [NEXT_DAY])["load"].to_list() == [12.0] * 20


def test_version_of_a_date_is_the_hash_of_its_rows(store: TableStore):
    result = store.write(
        VISITS, pl.concat([visits(DAY), visits(NEXT_DAY)]), [DAY, NEXT_DAY], code_version="1"
    )
    assert store.versions(VISITS, [DAY, NEXT_DAY]) == result.hashes
    assert result.hashes[DAY] == content_hash(store.read(VISITS, [DAY]), VISITS)
    assert store.dates(VISITS) == [DAY, NEXT_DAY]
    assert store.snapshot(VISITS).rows_by_date([DAY, NEXT_DAY, NEXT_DAY + timedelta(1)]) == {
        DAY: 20,
        NEXT_DAY: 20,
    }


def test_unchanged_rows_make_no_new_snapshot(store: TableStore):
    both = pl.concat([visits(DAY), visits(NEXT_DAY)])
    first = store.write(VISITS, both, [DAY, NEXT_DAY], code_version="1")
    second = store.write(VISITS, both.reverse(), [DAY, NEXT_DAY], code_version="2")
    assert (second.snapshot_id, second.hashes) == (first.snapshot_id, first.hashes)
    assert second.unchanged == (DAY, NEXT_DAY)


def test_range_is_one_commit_that_records_its_inputs(store: TableStore, tmp_path: Path):
    days = [DAY + timedelta(days=number) for number in range(5)]
    frame = pl.concat([visits(day) for day in days])
    result = store.write(VISITS, frame, days, inputs={"raw.stop_visits": "17"}, code_version="abc")
    table = iceberg(tmp_path)
    assert [snapshot.snapshot_id for snapshot in table.snapshots()] == [result.snapshot_id]
    summary = table.current_snapshot().summary.additional_properties
    assert summary["code-version"] == "abc"
    assert summary["inputs"] == '{"raw.stop_visits": "17"}'
    assert summary[f"version.{days[4]}"] == result.hashes[days[4]]


def test_table_has_the_contracts_descriptions_and_requirements(store: TableStore, tmp_path: Path):
    store.write(VISITS, visits(), [DAY], code_version="1")
    fields = iceberg(tmp_path).schema().fields
    assert [(field.name, field.doc, field.required) for field in fields] == [
        (column.name, column.description, column.required) for column in VISITS.columns
    ]


def test_unwritten_date_is_named_with_its_asset(store: TableStore):
    with pytest.raises(
        DateMissing, match=r"raw\.visits has no service_date 2026-11-20\. Materialise raw/visits"
    ):
        store.read(VISITS, [DAY])
    store.write(VISITS, visits(), [DAY], code_version="1")
    with pytest.raises(DateMissing, match="2026-11-21") as error:
        store.read(VISITS, [DAY, NEXT_DAY])
    assert error.value.dates == (NEXT_DAY,)
    assert isinstance(error.value, PermanentFailure)


def test_date_without_rows_has_a_version(store: TableStore):
    table = replace(VISITS, may_be_empty=True)
    result = store.write(table, empty_frame(table), [DAY], code_version="1")
    assert store.read(table, [DAY]).height == 0
    assert store.versions(table, [DAY]) == result.hashes
    store.write(table, visits(), [DAY], code_version="1")
    store.write(table, empty_frame(table), [DAY], code_version="1")
    assert store.read(table, [DAY]).height == 0


def test_pinned_snapshot_keeps_its_rows_and_versions(store: TableStore):
    first = store.write(VISITS, pl.concat([visits(DAY), visits(NEXT_DAY)]), [DAY, NEXT_DAY], code_version="1")
    store.write(VISITS, visits(DAY, load=50.0), [DAY], code_version="1")
    later = store.write(VISITS, visits(DAY + timedelta(days=2)), [DAY + timedelta(days=2)], code_version="1")
    pin = first.snapshot_id
    assert store.read(VISITS, [DAY], snapshot_id=pin)["load"].unique().to_list() == [12.0]
    assert store.versions(VISITS, [DAY, NEXT_DAY], pin) == first.hashes
    assert store.versions(VISITS, [DAY, NEXT_DAY], later.snapshot_id) == store.versions(
        VISITS, [DAY, NEXT_DAY]
    )
    with pytest.raises(DateMissing, match=f"pinned snapshot {pin}"):
        store.read(VISITS, [DAY + timedelta(days=2)], snapshot_id=pin)


def test_opened_snapshot_does_not_see_later_writes(store: TableStore):
    store.write(VISITS, visits(load=1.0), [DAY], code_version="1")
    before = store.snapshot(VISITS)
    store.write(VISITS, visits(load=2.0), [DAY], code_version="1")
    assert before.read([DAY])["load"].unique().to_list() == [1.0]
    assert before.versions([DAY]) != store.versions(VISITS, [DAY])


def test_expired_pin_is_an_error_with_the_remedy(store: TableStore):
    store.write(VISITS, visits(), [DAY], code_version="1")
    with pytest.raises(PermanentFailure, match=r"raw\.visits has no snapshot 42.*without that pin"):
        store.read(VISITS, [DAY], snapshot_id=42)


def test_version_at_a_pin_survives_an_expired_snapshot(store: TableStore, tmp_path: Path):
    first = store.write(VISITS, visits(load=1.0), [DAY], code_version="1")
    pin = store.write(VISITS, visits(NEXT_DAY), [NEXT_DAY], code_version="1").snapshot_id
    store.write(VISITS, visits(load=2.0), [DAY], code_version="1")
    iceberg(tmp_path).maintenance.expire_snapshots().by_id(first.snapshot_id).commit()
    assert store.versions(VISITS, [DAY], pin) == first.hashes


def test_old_snapshots_expire_and_current_rows_stay(tmp_path: Path):
    store = TableStore(local_catalog(tmp_path), keep_snapshots=3, keep_for=timedelta(0))
    days = [DAY + timedelta(days=number) for number in range(25)]
    written = {day: store.write(VISITS, visits(day), [day], code_version="1") for day in days}
    kept = {snapshot.snapshot_id for snapshot in iceberg(tmp_path).snapshots()}
    assert kept == {written[day].snapshot_id for day in days[20:]}, (
        "three of the first 23 snapshots, and two later ones"
    )
    assert store.versions(VISITS, days) == {day: result.hashes[day] for day, result in written.items()}
    assert store.read(VISITS, days).height == 25 * 20


def test_recent_snapshots_never_expire(tmp_path: Path):
    store = TableStore(local_catalog(tmp_path), keep_snapshots=1)
    for number in range(25):
        store.write(VISITS, visits(load=float(number)), [DAY], code_version="1")
    assert len(iceberg(tmp_path).snapshots()) == 1 + 24 * 2, (
        "replacing a date makes two snapshots: a deletion and an append"
    )


def test_two_writers_expire_snapshots_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first, second = (
        TableStore(local_catalog(tmp_path), keep_snapshots=1, keep_for=timedelta(0)) for _ in range(2)
    )
    days = [DAY + timedelta(days=number) for number in range(22)]
    for day in days[:20]:
        first.write(VISITS, visits(day), [day], code_version="1")
    expire, others = first._expire_old_snapshots, []

    def expire_after_the_other_writer(contract: Any, loaded: Table) -> None:
        others.append(second.write(VISITS, visits(days[21]), [days[21]], code_version="1").snapshot_id)
        expire(contract, loaded)

    monkeypatch.setattr(first, "_expire_old_snapshots", expire_after_the_other_writer)
    own = first.write(VISITS, visits(days[20]), [days[20]], code_version="1").snapshot_id
    assert own != others[0] == first.current_snapshot(VISITS)
    assert first.read(VISITS, days).height == 22 * 20
    assert len(iceberg(tmp_path).snapshots()) < 4, "the other writer has expired them"


def test_cost_of_a_commit_does_not_grow_with_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    copied: list[int] = []

    def counted(base_metadata: TableMetadata, *arguments: Any, **options: Any) -> TableMetadata:
        copied.append(len(base_metadata.snapshots))
        return update_table_metadata(base_metadata, *arguments, **options)

    monkeypatch.setattr("pyiceberg.table.update_table_metadata", counted)
    monkeypatch.setattr("pyiceberg.catalog.update_table_metadata", counted)
    store = TableStore(local_catalog(tmp_path), keep_snapshots=5, keep_for=timedelta(0))
    copies = []
    for number in range(85):
        copied.clear()
        day = DAY + timedelta(days=number)
        store.write(VISITS, visits(day), [day], input_hashes={day: "hash"}, code_version="1")
        copies.append(list(copied))
    assert all(copies), "pyiceberg updates metadata in another function, and nothing was counted"
    assert copies[25:45] == copies[65:85], "snapshots copied by each of twenty commits"
    assert max(map(len, copies)) <= 3 + 5, "snapshots of the write and of the expiry"


def test_reads_and_writes_open_no_files_of_other_dates(store: TableStore, tmp_path: Path):
    store.write(VISITS, visits(DAY), [DAY], code_version="1")
    store.write(VISITS, visits(NEXT_DAY), [NEXT_DAY], code_version="1")
    shutil.rmtree(data_files(tmp_path, DAY))
    store.write(VISITS, visits(NEXT_DAY, load=5.0), [NEXT_DAY], code_version="1")
    assert store.read(VISITS, [NEXT_DAY])["load"].unique().to_list() == [5.0]
    assert len(store.versions(VISITS, [DAY, NEXT_DAY])) == 2


def test_chosen_columns_keep_the_order_of_rows(store: TableStore):
    store.write(VISITS, visits(), [DAY], code_version="1")
    assert store.read(VISITS, [DAY], columns=["load", "trip_id"]).equals(
        store.read(VISITS, [DAY]).select("load", "trip_id")
    )


def test_rows_of_dates_written_in_any_order_are_read_sorted(store: TableStore):
    for day in (NEXT_DAY, DAY):
        store.write(VISITS, visits(day, load=float(day.day)), [day], code_version="1")
    assert store.read(VISITS, [DAY, NEXT_DAY], columns=["load"])["load"].to_list() == [
        *[float(DAY.day)] * 20,
        *[float(NEXT_DAY.day)] * 20,
    ]


def test_large_date_is_read_sorted_from_several_files(store: TableStore, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("ruter_dagster.storage.data_files._MAX_ROWS", 7)
    written = pl.concat([visits(DAY), visits(NEXT_DAY)])
    store.write(VISITS, written, [DAY, NEXT_DAY], code_version="1")
    assert len(list(data_files(tmp_path, DAY).glob("*.parquet"))) == 3
    assert store.read(VISITS, [DAY, NEXT_DAY]).equals(conform(written, VISITS).sort(VISITS.key))


def test_bad_rows_leave_the_table_unchanged(store: TableStore):
    former = store.write(VISITS, visits(), [DAY], code_version="1")
    with pytest.raises(BadInput, match="load >= 0"):
        store.write(VISITS, visits(load=-1.0), [DAY], code_version="1")
    assert store.current_snapshot(VISITS) == former.snapshot_id
    assert store.read(VISITS, [DAY])["load"].unique().to_list() == [12.0]


pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

WIDER = replace(VISITS, columns=(*VISITS.columns, Column("seats", "int32", "Seats", required=False)))


def test_new_column_of_the_contract_is_added(store: TableStore):
    before = store.write(VISITS, visits(DAY), [DAY], code_version="1")
    store.write(WIDER, visits(NEXT_DAY).with_columns(seats=40), [NEXT_DAY], code_version="2")
    assert store.read(WIDER, [DAY, NEXT_DAY])["seats"].to_list() == [None] * 20 + [40] * 20
    assert (
        store.versions(WIDER, [DAY]) == before.hashes == {DAY: content_hash(store.read(WIDER, [DAY]), WIDER)}
    )


def test_removed_column_of_the_contract_is_not_read(store: TableStore):
    store.write(WIDER, visits(DAY).with_columns(seats=40), [DAY], code_version="1")
    store.write(VISITS, visits(NEXT_DAY), [NEXT_DAY], code_version="2")
    assert store.read(VISITS, [DAY, NEXT_DAY]).columns == list(VISITS.column_names)


def test_wider_type_is_evolved(store: TableStore):
    columns = tuple(
        replace(column, type="int64") if column.name == "stop_sequence" else column
        for column in VISITS.columns
    )
    wide = replace(VISITS, columns=columns)
    store.write(VISITS, visits(DAY), [DAY], code_version="1")
    store.write(wide, visits(NEXT_DAY), [NEXT_DAY], code_version="2")
    assert store.read(wide, [DAY, NEXT_DAY])["stop_sequence"].dtype == pl.Int64


@pytest.mark.parametrize(
    "column",
    [
        Column("load", "string", "Passengers"),
        Column("seats", "int32", "A new column that every row must have"),
    ],
)
def test_incompatible_contract_is_an_error_with_the_remedy(store: TableStore, column: Column):
    store.write(VISITS, visits(), [DAY], code_version="1")
    others = [other for other in VISITS.columns if other.name != column.name]
    changed = replace(VISITS, columns=(*others, column), rules=())
    frame = visits(NEXT_DAY).with_columns(
        pl.lit("7").cast(pl.String if column.type == "string" else pl.Int32).alias(column.name)
    )
    with pytest.raises(
        PermanentFailure, match=r"raw\.visits at /.*does not fit its contract.*drop the table"
    ):
        store.write(changed, frame, [NEXT_DAY], code_version="2")
    assert store.dates(VISITS) == [DAY]


def test_tables_in_one_database_have_their_namespace_in_the_name(tmp_path: Path):
    store = TableStore(local_catalog(tmp_path), database="ruter_dev")
    store.write(VISITS, visits(), [DAY], code_version="1")
    assert load_catalog("ruter", **local_catalog(tmp_path)).list_tables("ruter_dev") == [
        ("ruter_dev", "raw_visits")
    ]
    assert store.read(VISITS, [DAY]).height == 20


def roll_back(tmp_path: Path, snapshot_id: int) -> None:
    iceberg(tmp_path).manage_snapshots().rollback_to_snapshot(snapshot_id).commit()


def test_version_after_a_rollback_is_that_of_the_rows(store: TableStore, tmp_path: Path):
    first = store.write(VISITS, visits(DAY), [DAY], input_hashes={DAY: "first"}, code_version="1")
    both = pl.concat([visits(DAY, load=99.0), visits(NEXT_DAY)])
    hashes = {DAY: "second", NEXT_DAY: "second"}
    store.write(VISITS, both, [DAY, NEXT_DAY], input_hashes=hashes, code_version="1")
    roll_back(tmp_path, first.snapshot_id)
    assert store.versions(VISITS, [DAY, NEXT_DAY]) == first.hashes
    assert store.dates(VISITS) == [DAY]
    assert store.snapshot(VISITS).unchanged_dates(hashes) == {}
    with pytest.raises(DateMissing):
        store.read(VISITS, [NEXT_DAY])


def test_rows_that_were_rolled_back_are_written_again(store: TableStore, tmp_path: Path):
    first = store.write(VISITS, visits(DAY), [DAY], code_version="1")
    second = store.write(VISITS, visits(DAY, load=99.0), [DAY], code_version="1")
    roll_back(tmp_path, first.snapshot_id)
    again = store.write(VISITS, visits(DAY, load=99.0), [DAY], code_version="1")
    assert again.unchanged == ()
    assert store.versions(VISITS, [DAY]) == second.hashes
    assert set(store.read(VISITS, [DAY])["load"]) == {99.0}


def test_snapshots_expire_beside_a_tagged_one(tmp_path: Path):
    store = TableStore(local_catalog(tmp_path), keep_snapshots=1, keep_for=timedelta(0))
    table = replace(VISITS, may_be_empty=True)
    tagged = store.write(table, visits(DAY), [DAY, NEXT_DAY], code_version="1").snapshot_id
    iceberg(tmp_path).manage_snapshots().create_tag(tagged, "kept").commit()
    for number in range(30):
        store.write(VISITS, visits(DAY, load=float(number)), [DAY], code_version="1")
    left = [snapshot.snapshot_id for snapshot in iceberg(tmp_path).snapshots()]
    assert len(left) < 30
    assert tagged in left
    assert store.dates(VISITS) == [DAY, NEXT_DAY], "dates of a tagged snapshot were not rolled back"
