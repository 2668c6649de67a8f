"""What jobs report and print: not to the end, not readable, in several streams."""

from __future__ import annotations

import json
import textwrap

import pytest

from tests.faults.conftest import KINDS, House, job_of, processing, training

pytestmark = pytest.mark.extended

MATERIALISATION = {
    "asset_key": "loads",
    "metadata": {"rows": {"raw_value": 1, "type": "no such type"}},
    "data_version": None,
}
MALFORMED = {
    "no JSON": b'{"method": "log", "params": {"mess',
    "no message": b"[1, 2]",
    "no such method": b'{"method": "report_nothing", "params": {}}',
    "no such type": json.dumps(
        {"method": "report_asset_materialization", "params": MATERIALISATION}
    ).encode(),
    "no UTF-8": b'{"method": "log", "params": {"message": "bl\xe5", "level": "INFO"}}',
}


@pytest.mark.parametrize("job", ["never_opens", "never_closes"])
@KINDS
def test_job_without_closed(house: House, kind: str, job: str):
    """The failure says that the job completed but never said `closed`, where its messages are, and how to write them."""
    told = house.run(job_of(kind, job))
    assert told.final
    assert "completed, but of its messages at s3://bucket/artifacts/pipes/" in told.description
    assert "none says `closed`" in told.description
    assert (told.lines, house.job()["status"]) == (["line 1"], "Completed")


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_malformed_message(house: House, content: bytes):
    """The failure quotes the message and says which it is: a success without its report would be worse."""
    told = house.run(processing("speaks", *textwrap.wrap(content.hex(), 200)))
    assert told.final
    assert "completed, but 1 of its messages cannot be read" in told.description
    assert content.decode(errors="replace")[:20] in told.description
    assert house.job()["status"] == "Completed"


def test_first_message_whose_answer_is_lost(house: House):
    """Its container writes it again, seconds later: what stands in it is told once, and no container was started again."""
    house.double.fault("lost_answer", operations="s3.PutObject", skip=2)  # of context and record
    told = house.run(training("repeats"), follow_logs=False)
    assert house.double.calls()["callers"]["container"]["s3.PutObject"] == 3
    assert told.metadata["rows"] == 1
    assert (told.log.count("counting"), "started again" in told.log) == (1, False)
    assert house.job()["starts"] == 1


def test_logs_in_three_streams(house: House):
    """Each line stands in the compute log once, behind its host, each host's in their order, the late ones too."""
    house.double.fault("log_lag", seconds=0.5, skip=1)
    told = house.run(processing("counts_on_each_host", 40, instance_count=3))
    assert told.metadata["rows"] == 1
    assert len(told.lines) == 120
    for host in ("algo-1", "algo-2", "algo-3"):
        mine = [line for line in told.lines if line.startswith(f"[{host}]")]
        assert mine == [f"[{host}] {host} line {number}" for number in range(40)]
    assert len(house.job()["pids"]) == 3
