"""Settings of jobs in SageMaker: which of several tables applies, and one error that lists every fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.config.settings import Settings, SettingsError
from ruter_dagster.contracts.jobs import JOBS
from ruter_dagster.resources.sagemaker.settings import JobsSettings, load_jobs_settings

VARIABLES: dict[str, Any] = {
    "sagemaker_image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/jobs@sha256:" + "a" * 64,
    "sagemaker_role": "arn:aws:iam::123456789012:role/jobs",
}
QUOTA = "ml.c5.xlarge for processing job usage"


def settings(**changes: Any) -> Settings:
    return Settings(_env_file=None, **(VARIABLES | changes))  # pyright: ignore[reportCallIssue]


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Loads a file with this text."""

    def load_text(text: str, **changes: Any) -> JobsSettings:
        path = tmp_path / "jobs.toml"
        path.write_text(text)
        return load_jobs_settings(settings(sagemaker_jobs=str(path), **changes))

    return load_text


def test_package_has_settings_of_every_job() -> None:
    jobs = load_jobs_settings(settings()).jobs
    assert set(jobs) == set(JOBS)
    assert {name for name in jobs if jobs[name].kind == "training"} == {"train", "refit"}
    assert all(len(job.instance_types) == 3 for job in jobs.values())


def test_every_instance_type_of_the_package_has_a_price() -> None:
    loaded = load_jobs_settings(settings())
    assert {name for job in loaded.jobs.values() for name in job.instance_types} <= set(loaded.prices)


@pytest.mark.parametrize("environment", ["dev", "prod", "s-mybranch-1a2b3c"])
def test_example_file_is_valid(environment: str) -> None:
    example = Path(__file__).parents[3] / "examples" / "sagemaker_jobs.toml"
    load_jobs_settings(settings(sagemaker_jobs=str(example), environment=environment))


def test_more_specific_table_wins(load: Any) -> None:
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
    assert load(text).jobs["train"].timeout_minutes == 5, "the deployment's file overrides the package's"


def test_variables_apply_to_every_job_unless_the_job_overrides_them(load: Any) -> None:
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


def test_roles_by_job_override_the_role_of_all_jobs_and_the_file_overrides_both(load: Any) -> None:
    arn = "arn:aws:iam::123456789012:role/"
    jobs = load(
        f'[job.publish]\nrole = "{arn}file"', sagemaker_roles=f"train={arn}models, publish={arn}publisher"
    ).jobs
    assert {name: jobs[name].role for name in ("balance", "train", "publish")} == {
        "balance": f"{arn}jobs",
        "train": f"{arn}models",
        "publish": f"{arn}file",
    }


def test_roles_of_unknown_jobs_and_invalid_roles_are_refused() -> None:
    roles = {"trian": "arn:aws:iam::123456789012:role/models", "train": "models"}
    with pytest.raises(SettingsError) as caught:
        load_jobs_settings(settings(sagemaker_roles=roles))
    assert (
        "RUTER_SAGEMAKER_ROLES=trian=arn:aws:iam::123456789012:role/models: unknown job; allowed: balance,"
        in str(caught.value)
    )
    assert "RUTER_SAGEMAKER_ROLES train role='models': allowed: the ARN of a role" in str(caught.value)


def test_job_has_role_of_its_own_without_a_role_of_all_jobs() -> None:
    arn = "arn:aws:iam::123456789012:role/jobs"
    roles = dict.fromkeys(JOBS, arn)
    jobs = load_jobs_settings(settings(sagemaker_role=None, sagemaker_roles=roles)).jobs
    assert {job.role for job in jobs.values()} == {arn}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[job.trian]\nvolume_gb = 5", "[job.trian]: unknown table; allowed: balance,"),
        ("[environment.production.default]\nvolume_gb = 5", "[environment.production]: unknown table; allowed: dev, local,"),
        ("[defaults]\nvolume_gb = 5", "[defaults]: unknown table; allowed: default, environment, job, prices, quotas"),
        ("[default]\nvolume = 5", "[default] volume=5: unknown setting. Did you mean volume_gb?"),
        ("[job.train]\ncheckpoint = true", "[job.train] checkpoint=True: unknown setting; allowed: encrypt"),
        ("[default]\ninstance_count = 2", "[default] instance_count=2: unknown setting. Did you mean instance_types?"),
        ('[default]\ninstance_types = "ml.m5.large"', "[default] instance_types='ml.m5.large': it must be a list, such as"),
        ("[job.train]\ntags = 3", "[job.train] tags=3: it must be a table, such as"),
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
        ('[default]\ninstance_types = ["m5.large"]', "instance_types.0='m5.large': allowed: instance types of SageMaker"),
        ('[default]\nimage = "jobs:latest"', "image='jobs:latest': allowed: an image by digest"),
        ("[job.balance]\nspot = true", 'job balance: spot needs kind = "training"'),
        ("[job.balance]\nkeep_alive_minutes = 5", 'job balance: keep_alive_minutes needs kind = "training"'),
        ("[job.train]\nspot = true\nkeep_alive_minutes = 5", "a warm pool cannot use spot instances"),
        ("[job.train]\nspot = true\nspot_wait_minutes = 5", "spot_wait_minutes includes the run time"),
        ("[default]\nnetwork_isolation = true", "network_isolation=True: unknown setting"),
        ('[default]\nsubnets = ["subnet-a"]', "subnets and security_groups need each other"),
        ("[job.balance]\ntimeout_minutes = 20000", "exceeds SageMaker's limit, 9 days"),
        ('[quotas]\n"ml.m5.large" = 5', "[quotas] 'ml.m5.large': allowed: the name of a quota in Service Quotas"),
        ('[prices]\n"ml.m5.large" = "cheap"', "[prices] 'ml.m5.large'='cheap'"),
        ("[default", "cannot be read"),
    ],
)  # fmt: skip
def test_error_names_location_and_allowed_values(load: Any, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(text)
    assert message in str(error.value)


def test_error_lists_all_faults(load: Any) -> None:
    text = "[job.balance]\nspot = true\n[job.trian]\n[default]\nvolume_gb = 0"
    with pytest.raises(SettingsError) as error:
        load(text, sagemaker_image=None, sagemaker_role=None)
    for part in ("set RUTER_SAGEMAKER_IMAGE", "set RUTER_SAGEMAKER_ROLE", "[job.trian]", "volume_gb=0"):
        assert part in str(error.value)


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
def test_fault_of_every_job_is_listed_once(load: Any, text: str, faults: int) -> None:
    with pytest.raises(SettingsError) as error:
        load(text)
    assert len(str(error.value).splitlines()[1:-1]) == faults


def test_error_names_the_variable(load: Any) -> None:
    with pytest.raises(
        SettingsError, match="RUTER_SAGEMAKER_IMAGE='jobs:latest': allowed: an image by digest"
    ):
        load("", sagemaker_image="jobs:latest")


@pytest.mark.parametrize(("runs", "parallel_jobs"), [(1, 8), (2, 4), (3, 2), (20, 1)])
def test_runs_of_a_pool_share_its_quota(load: Any, runs: int, parallel_jobs: int) -> None:
    loaded = load(f'[default]\ninstance_types = ["ml.c5.xlarge"]\njobs_at_once = 50\n[quotas]\n"{QUOTA}" = 8')
    assert loaded.jobs["balance"].quota == QUOTA
    assert loaded.jobs["balance"].pool == "sagemaker-processing-ml.c5.xlarge"
    assert loaded.max_parallel_jobs("balance", runs) == parallel_jobs


def test_jobs_at_once_is_the_limit_without_a_quota(load: Any) -> None:
    assert load("[job.balance]\njobs_at_once = 5").max_parallel_jobs("balance", 3) == 5
