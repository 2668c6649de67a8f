"""Names and tags with every character that somebody might put into a partition or an asset."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pytest
from dagster import (
    MaterializeResult,
    MultiPartitionsDefinition,
    StaticPartitionsDefinition,
    asset,
    materialize,
)

from dagster_sagemaker_tests.faults.conftest import JobRunner, client_of, processing

pytestmark = pytest.mark.extended

ASCII = "".join(chr(code) for code in range(128))
OTHERS = "åØ日本é🚍…–€ \u2028\u2029\x85\ufeff\u200d"
AWKWARD = ASCII + OTHERS


def test_a_tag_and_a_name_with_every_awkward_character(runner: JobRunner):
    """Tags keep what AWS allows and have `_` for the rest; the name keeps letters and digits."""
    result = runner.run(
        processing("reports", key=AWKWARD, tags={AWKWARD: AWKWARD * 3, "branch": "fix/å|b[1]"})
    )
    assert result.metadata["rows"] == 3
    job = runner.job()
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", job["name"])
    assert job["tags"]["branch"] == "fix/å_b_1_"
    allowed = set("_.:/=+-@ ")
    for key, value in job["tags"].items():
        assert all(c in allowed or unicodedata.category(c)[0] in "LNZ" for c in key + value)
        assert len(key) <= 128 and len(value) <= 256
    assert job["tags"]["dagster/key"].startswith("_" * 32)


def test_similar_keys_have_separate_jobs(runner: JobRunner):
    """Nothing is mixed up: each key's job has its own name and its own messages."""
    keys = ["a/b", "a|b", "a b", "a-b", "A/b", "a/b ", "a\0b"]
    rows: dict[str, Any] = {}

    @asset
    def loads(context):
        jobs = [processing("chunk", key=key, extras={"chunk": key}) for key in keys]
        for end in client_of(jobs[0]).run_all(context=context, jobs=jobs, at_once=4):
            assert end.invocation
            rows[end.job.key] = end.invocation.get_custom_messages()
        return MaterializeResult()

    assert materialize([loads], instance=runner.instance).success
    assert rows == {key: (key,) for key in keys}
    assert len({job["name"] for job in runner.jobs()}) == len(keys)


def test_a_partition_of_two_dimensions_with_awkward_keys(runner: JobRunner):
    """The tag tells asset and partition with `_` for what AWS refuses, the `|` of two dimensions first of all."""
    place, day = "Øst (31) / «Nydalen» 🚍", "2026-11-20"
    both = MultiPartitionsDefinition(
        {"day": StaticPartitionsDefinition([day]), "place": StaticPartitionsDefinition([place])}
    )

    @asset(partitions_def=both, key_prefix=["raw", "stop-visits"])
    def loads(context):
        job = processing("reports")
        yield from client_of(job).run(context=context, job=job).get_results()

    result = materialize([loads], instance=runner.instance, partition_key=f"{day}|{place}")
    assert result.success
    assert runner.job()["tags"]["dagster/asset"] == "raw/stop-visits/loads"
    assert runner.job()["tags"]["dagster/partition"] == "2026-11-20_Øst _31_ / _Nydalen_ _"
    assert runner.job()["name"].startswith("raw-stop-visits-loads-2026-11-20-st-31-Nydalen-")
