"""The example for outsiders loads, and its jobs are within SageMaker's limits."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from dagster import DagsterInstance, Definitions, materialize

from dagster_sagemaker_tests.fake_aws import completes, fails, materialised

README = Path(__file__).parents[1] / "README.md"
EXAMPLE = Path(__file__).parents[1] / "examples" / "sagemaker_assets.py"


def test_the_readmes_asset_is_a_whole_code_location():
    code = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[0]
    names: dict[str, object] = {}
    exec(compile(code, README, "exec", dont_inherit=True), names)
    defs = names["defs"]
    assert isinstance(defs, Definitions)
    Definitions.validate_loadable(defs)
    assert defs.resolve_all_asset_specs()[0].key.to_user_string() == "features"


def test_the_example_loads_and_its_jobs_run(runner):
    names = runpy.run_path(str(EXAMPLE))
    Definitions.validate_loadable(names["defs"])
    with DagsterInstance.ephemeral() as instance:
        for name, kind in (("features", "Processing"), ("model", "Training")):
            runner.aws.scripts = [completes(report=[materialised(name)])]
            result = materialize(
                [names["features"], names["model"]],
                selection=[name],
                partition_key="2026-11-01",
                resources={"processing": runner.client("Processing"), "training": runner.client("Training")},
                instance=instance,
            )
            assert result.success
            assert list(runner.aws.jobs.values())[-1].kind == kind


def test_example_model_resumes_from_its_checkpoint_in_any_run(runner):
    names = runpy.run_path(str(EXAMPLE))
    runner.aws.scripts = [fails("AlgorithmError: exit code: 1"), completes(report=[materialised("model")])]
    resources = {"processing": runner.client("Processing"), "training": runner.client("Training")}
    for _ in range(2):
        materialize(
            [names["features"], names["model"]],
            selection=["model"],
            partition_key="2026-11-01",
            resources=resources,
            instance=runner.instance,
            raise_on_error=False,
        )
    first, second = (job.request["CheckpointConfig"] for job in runner.aws.jobs.values())
    assert first == second


def test_training_example_resumes_from_its_checkpoint(tmp_path):
    train, checkpoint = runpy.run_path(str(EXAMPLE))["train"], tmp_path / "trees.json"
    checkpoint.write_text("200")
    assert [train(500, checkpoint), train(500, checkpoint)] == [300, 500]
