"""What a job runs on: a file over the package's own, a job's settings over those of all, an environment's over both; every fault in one error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.config.settings import Settings, SettingsError
from ruter_dagster.contracts.jobs import JOBS
from ruter_dagster.resources.sagemaker.settings import JobsSettings, load_jobs_settings

GIVEN: dict[str, Any] = {
    "sagemaker_image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/jobs@sha256:" + "a" * 64,
    "sagemaker_role": "arn:aws:iam::123456789012:role/jobs",
}
QUOTA = "ml.c5.xlarge for processing job usage"


def settings(**changes: Any) -> Settings:
    return Settings(_env_file=None, **(GIVEN | changes))  # pyright: ignore[reportCallIssue]


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Loads a file with this text."""

    def of(text: str, **changes: Any) -> JobsSettings:
        path = tmp_path / "jobs.toml"
        path.write_text(text)
        return load_jobs_settings(settings(sagemaker_jobs=str(path), **changes))

    return of


def test_the_package_has_settings_of_every_job() -> None:
    jobs = load_jobs_settings(settings()).jobs
    assert set(jobs) == set(JOBS)
    assert {name for name in jobs if jobs[name].kind == "training"} == {"train", "refit"}
    assert all(len(chosen.instance_types) == 3 for chosen in jobs.values())


def test_every_instance_type_of_the_package_has_a_price() -> None:
    found = load_jobs_settings(settings())
    assert {name for chosen in found.jobs.values() for name in chosen.instance_types} <= set(found.prices)


@pytest.mark.parametrize("environment", ["dev", "prod", "s-mybranch-1a2b3c"])
def test_the_example_is_right(environment: str) -> None:
    example = Path(__file__).parents[3] / "examples" / "sagemaker_jobs.toml"
    load_jobs_settings(settings(sagemaker_jobs=str(example), environment=environment))


def test_what_is_more_particular_wins(load: Any) -> None:
    text = """
        [default]
        volume_gb = 10
        timeout_minutes = 5
        [job.train]
        volume_gb = 20
        [environment.prod.default]
        volume_gb = 30
        [environment.prod.job.train]
        volume_gb = 40
        [environment.sandbox.job.train]
        volume_gb = 50
    """
    volumes = {
        environment: [load(text, environment=environment).jobs[job].volume_gb for job in ("balance", "train")]
        for environment in ("dev", "prod", "s-mybranch-1a2b3c")
    }
    assert volumes == {"dev": [10, 20], "prod": [30, 40], "s-mybranch-1a2b3c": [10, 50]}
    assert load(text).jobs["train"].timeout_minutes == 5, "one's own file stands over the package's"


def test_the_deployments_variables_are_for_every_job_and_a_job_may_have_its_own(load: Any) -> None:
    jobs = load(
        f'[job.publish]\nsubnets = ["subnet-b"]\nimage = "other@sha256:{"b" * 64}"',
        sagemaker_subnets="subnet-a, subnet-c",
        sagemaker_security_groups="sg-a",
        sagemaker_kms_key="key",
    ).jobs
    assert jobs["balance"].subnets == ("subnet-a", "subnet-c")
    assert jobs["balance"].kms_key == "key"
    assert jobs["publish"].subnets == ("subnet-b",)
    assert jobs["publish"].image.startswith("other@")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[job.trian]\nvolume_gb = 5", "[job.trian]: there is none; there are balance,"),
        ("[environment.production.default]\nvolume_gb = 5", "[environment.production]: there is none; there are dev, local,"),
        ("[defaults]\nvolume_gb = 5", "[defaults]: there is none; there are default, environment, job, prices, quotas"),
        ("[default]\nvolume = 5", "[default] volume=5: there is no such setting; there are encrypt"),
        ("[job.train]\ncheckpoint = true", "[job.train] checkpoint=True: there is no such setting"),
        ("[default]\ninstance_count = 2", "[default] instance_count=2: a job runs on one instance"),
        ('[default]\ninstance_types = "ml.m5.large"', "[default] instance_types='ml.m5.large': it must be a list, as"),
        ("[job.train]\ntags = 3", "[job.train] tags=3: it must be a table, as"),
        ("default = 3", "default=3: it must be a table, [default]"),
        ("job = 3", "job=3: it must be a table, [job]"),
        ("[job]\ntrain = 5", "job.train=5: it must be a table, [job.train]"),
        ("environment = 3", "environment=3: it must be a table, [environment]"),
        ("[environment]\nprod = 3", "environment.prod=3: it must be a table, [environment.prod]"),
        ("[environment.prod]\njob = 3", "environment.prod.job=3: it must be a table, [environment.prod.job]"),
        ("[environment.prod.job]\ntrain = 3", "environment.prod.job.train=3: it must be a table"),
        ("[[default]]\nvolume_gb = 3", "default=[{'volume_gb': 3}]: it must be a table, [default]"),
        ("prices = 3", "prices=3: it must be a table, [prices]"),
        ('quotas = "x"', "quotas='x': it must be a table, [quotas]"),
        ("[environment.prod.default]\nvolume_gb = 0", "[environment.prod.default] volume_gb=0: "),
        ("[environment.prod.job.balance]\nspot = true", 'in prod, job balance: spot needs kind = "training"'),
        ('[default]\ninstance_types = ["m5.large"]', "instance_types.0='m5.large': allowed are types of SageMaker"),
        ('[default]\nimage = "jobs:latest"', "image='jobs:latest': allowed is an image by digest"),
        ("[job.balance]\nspot = true", 'job balance: spot needs kind = "training"'),
        ("[job.balance]\nkeep_alive_minutes = 5", 'job balance: keep_alive_minutes needs kind = "training"'),
        ("[job.train]\nspot = true\nkeep_alive_minutes = 5", "a warm pool cannot be of spot instances"),
        ("[job.train]\nspot = true\nspot_wait_minutes = 5", "spot_wait_minutes counts the running too"),
        ("[default]\nnetwork_isolation = true", "use subnets with VPC endpoints"),
        ('[default]\nsubnets = ["subnet-a"]', "subnets and security_groups need each other"),
        ("[job.balance]\ntimeout_minutes = 20000", "over SageMaker's limit, 9 days"),
        ('[quotas]\n"ml.m5.large" = 5', "[quotas] 'ml.m5.large': a quota is named as Service Quotas does"),
        ('[prices]\n"ml.m5.large" = "cheap"', "[prices] 'ml.m5.large'='cheap'"),
        ("[default", "cannot be read"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_place_and_what_is_allowed(load: Any, text: str, told: str) -> None:
    with pytest.raises(SettingsError) as fault:
        load(text)
    assert told in str(fault.value)


def test_all_faults_are_told_at_once(load: Any) -> None:
    text = "[job.balance]\nspot = true\n[job.trian]\n[default]\nvolume_gb = 0"
    with pytest.raises(SettingsError) as fault:
        load(text, sagemaker_image=None, sagemaker_role=None)
    for told in ("set RUTER_SAGEMAKER_IMAGE", "set RUTER_SAGEMAKER_ROLE", "[job.trian]", "volume_gb=0"):
        assert told in str(fault.value)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("[default]\nvolume = 5", 1),
        ("[default]\nvolume_gb = 0", 1),
        ("[environment.prod.default]\nvolume_gb = 0", 1),
        ("[default]\nnetwork_isolation = true", 1),
        ("[job.train]\nspot = true\nkeep_alive_minutes = 5", 1),
        ('[default]\nsubnets = ["subnet-a"]', 1),
        ("[default]\nspot = true\n[environment.prod.default]\nvolume_gb = 5", 1),
    ],
)
def test_a_fault_of_every_job_is_told_once(load: Any, text: str, faults: int) -> None:
    with pytest.raises(SettingsError) as fault:
        load(text)
    assert len(str(fault.value).splitlines()[1:-1]) == faults


def test_a_variable_is_told_by_its_name(load: Any) -> None:
    with pytest.raises(
        SettingsError, match="RUTER_SAGEMAKER_IMAGE='jobs:latest': allowed is an image by digest"
    ):
        load("", sagemaker_image="jobs:latest")


@pytest.mark.parametrize(("runs", "most"), [(1, 8), (2, 4), (3, 2), (20, 1)])
def test_the_runs_of_a_pool_share_its_quota(load: Any, runs: int, most: int) -> None:
    found = load(f'[default]\ninstance_types = ["ml.c5.xlarge"]\njobs_at_once = 50\n[quotas]\n"{QUOTA}" = 8')
    assert found.jobs["balance"].quota == QUOTA
    assert found.jobs["balance"].pool == "sagemaker-processing-ml.c5.xlarge"
    assert found.at_once("balance", runs) == most


def test_jobs_at_once_is_the_limit_where_no_quota_is_named(load: Any) -> None:
    assert load("[job.balance]\njobs_at_once = 5").at_once("balance", 3) == 5
