"""The components: assets, Dagster's settings of their step, the client's settings, and one job."""

from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar

from dagster import (
    AssetExecutionContext,
    Backoff,
    Component,
    ComponentLoadContext,
    Definitions,
    Failure,
    Jitter,
    MaterializeResult,
    Model,
    PipesClientCompletedInvocation,
    ResolutionContext,
    Resolvable,
    ResolvedAssetCheckSpec,
    ResolvedAssetSpec,
    Resolver,
    RetryPolicy,
    multi_asset,
    scaffold_with,
)
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    create_model,
    model_validator,
)

from dagster_sagemaker.client import PipesSageMakerProcessingClient, PipesSageMakerTrainingClient
from dagster_sagemaker.components.job_fields import (
    JobFields,
    ProcessingJobFields,
    TrainingJobFields,
    job_of,
)
from dagster_sagemaker.components.scaffolder import ProcessingJobScaffolder, TrainingJobScaffolder
from dagster_sagemaker.components.templates import TemplateFault, render
from dagster_sagemaker.jobs import Job, ProcessingJob, TrainingJob
from dagster_sagemaker.limits import preflight
from dagster_sagemaker.names import job_name
from dagster_sagemaker.requests import create_request

J = TypeVar("J", bound=Job)


@dataclass(frozen=True)
class JobTemplate(Generic[J]):
    """A job in YAML whose templates are rendered in each run, when the partition key is known."""

    fields: type[JobFields]
    values: Mapping[str, Any]
    scope: Mapping[str, Any]

    def job(self, **scope: Any) -> J:
        """The job for the names in `scope`. Raises `TemplateFault`."""
        rendered = render(dict(self.values), {**self.scope, **scope}, "job")
        try:
            return job_of(self.fields.model_validate(rendered))  # pyright: ignore[reportReturnType]
        except ValidationError as error:
            faults = (f"job.{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise TemplateFault("; ".join(faults)) from error


def _template(fields: type[JobFields]) -> Resolver:
    def resolve(context: ResolutionContext, model: Any) -> JobTemplate[Any]:
        return JobTemplate(fields, model.model_dump(exclude_unset=True), context.scope)

    return Resolver(resolve, model_field_type=fields, inject_before_resolve=False)


class RetryFields(Model, Resolvable):
    """Dagster's retry policy. Failures that no retry can fix are never retried."""

    max_retries: int = 1
    delay: Annotated[float | None, Resolver.default(description="Seconds before the first retry.")] = None
    backoff: Literal["LINEAR", "EXPONENTIAL"] | None = None
    jitter: Literal["FULL", "PLUS_MINUS"] | None = None

    def policy(self) -> RetryPolicy:
        return RetryPolicy(
            max_retries=self.max_retries,
            delay=self.delay,
            backoff=Backoff(self.backoff) if self.backoff else None,
            jitter=Jitter(self.jitter) if self.jitter else None,
        )


class JobComponent(Component, Resolvable, Model, ABC):
    """The base class of both components."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")
    client_class: ClassVar[Callable[..., Any]]
    job_fields: ClassVar[type[JobFields]]

    assets: Annotated[list[ResolvedAssetSpec], Field(min_length=1, description="What the job materialises.")]
    checks: Annotated[
        list[ResolvedAssetCheckSpec] | None,
        Resolver.default(description="Asset checks that the container reports."),
    ] = None
    op_name: Annotated[
        str | None, Resolver.default(description="Name of the step. Default: the keys of the assets.")
    ] = None
    op_tags: Annotated[dict[str, Any] | None, Resolver.default(description="Tags of the step.")] = None
    pool: Annotated[str | None, Resolver.default(description="Dagster's concurrency pool of the step.")] = (
        None
    )
    retry_policy: Annotated[
        RetryFields | None, Resolver.default(description="When Dagster tries the step again.")
    ] = None
    artifacts: Annotated[
        str | None,
        Resolver.default(
            description="S3 address of contexts, messages and records.", examples=["s3://my-bucket/artifacts"]
        ),
    ] = None
    client: Annotated[
        str | None,
        Resolver.default(description="Key of a resource that is the client, instead of `artifacts`."),
    ] = None
    name_prefix: Annotated[str, Resolver.default(description="Prefix of the job's name.")] = ""
    prices: Annotated[
        dict[str, float] | None, Resolver.default(description="Price of an instance hour by instance type.")
    ] = None
    follow_logs: Annotated[
        bool, Resolver.default(description="Whether the job's log lines are shown in Dagster.")
    ] = True
    studio_url: Annotated[
        str,
        Resolver.default(description="Address of a job in Studio, with `{region}`, `{kind}` and `{name}`."),
    ] = ""

    @model_validator(mode="after")
    def _has_one_client(self) -> Self:
        if bool(self.artifacts) == bool(self.client):
            raise ValueError("give either `artifacts` (an S3 address) or `client` (the key of a resource)")
        settings = ("name_prefix", "prices", "follow_logs", "studio_url")
        if self.client and (stated := [name for name in settings if name in self.model_fields_set]):
            raise ValueError(f"`client` has its own settings: remove {', '.join(stated)}, or use `artifacts`")
        return self

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """What YAML may contain. Dagster's own model also accepts a text for `job`, which hides the faults inside of it."""
        job = (cls.job_fields, Field(description="The job."))
        return create_model(f"{cls.__name__}Model", __base__=cls.model(), job=job)

    def build_defs(self, context: ComponentLoadContext) -> Definitions:
        """One step that runs the job. Raises `LimitsExceeded` or `TemplateFault` if the job cannot be created."""
        self._check_job()
        policy = self.retry_policy.policy() if self.retry_policy else None

        @multi_asset(
            name=self.op_name or "__".join("__".join(spec.key.path) for spec in self.assets),
            specs=self.assets,
            check_specs=self.checks,
            op_tags=self.op_tags,
            pool=self.pool,
            retry_policy=policy,
            required_resource_keys={self.client} if self.client else set(),
        )
        def _sagemaker_job(context: AssetExecutionContext) -> Iterator[Any]:
            invocation = self._client(context).run(context=context, job=self.make_job(**_scope(context)))
            yield from self._results(invocation)

        return Definitions(assets=[_sagemaker_job])

    def _results(self, invocation: PipesClientCompletedInvocation) -> Sequence[Any]:
        """What the container has reported, or all assets without metadata if it has reported none.

        Raises Failure if it has reported some of the assets only.
        """
        reported = invocation.get_results(implicit_materializations=False)
        keys = {result.asset_key for result in reported if isinstance(result, MaterializeResult)}
        missing = [spec.key.to_user_string() for spec in self.assets if spec.key not in keys]
        if keys and missing:
            raise Failure(
                f"The job has reported {len(keys)} of its {len(self.assets)} assets, but not {', '.join(missing)}. The "
                "container must call `report_asset_materialization` with the `asset_key` of each.",
                allow_retries=False,
            )
        return invocation.get_results()

    def make_job(self, **scope: Any) -> Job:
        """The job of one run. `scope` has `partition_key` if the run has one."""
        template: Job | JobTemplate[Any] = getattr(self, "job")  # noqa: B009
        return template.job(**scope) if isinstance(template, JobTemplate) else template

    def _client(self, context: AssetExecutionContext) -> Any:
        if self.client:
            return getattr(context.resources, self.client)
        return self.client_class(
            self.artifacts,
            name_prefix=self.name_prefix,
            prices=self.prices,
            follow_logs=self.follow_logs,
            studio_url=self.studio_url,
        )

    def _check_job(self) -> None:
        """Finds faults in templates and limits when definitions load, not in the first run."""
        partitions = self.assets[0].partitions_def
        try:
            key = partitions and partitions.get_first_partition_key()
        except Exception:
            return  # Dynamic partitions need a Dagster instance.
        if partitions and key is None:
            return
        job = self.make_job(**({"partition_key": key} if key else {}))
        instance_type = job.instance_types[0] if job.instance_types else ""
        folder = self.artifacts or "s3://bucket"
        name = job_name(self.assets[0].key.to_user_string(), "", 0)
        preflight(create_request(job, name, instance_type, folder=folder))


def _scope(context: AssetExecutionContext) -> dict[str, Any]:
    return {"partition_key": context.partition_key} if context.has_partition_key else {}


@scaffold_with(ProcessingJobScaffolder)
class ProcessingJobComponent(JobComponent):
    """Assets that one SageMaker Processing job materialises.

    Texts of `job` may be templates: `{{ env.NAME }}`, `{{ partition_key }}` and your own template variables.
    """

    client_class = PipesSageMakerProcessingClient
    job_fields = ProcessingJobFields
    job: Annotated[InstanceOf[ProcessingJob] | InstanceOf[JobTemplate], _template(ProcessingJobFields)]


@scaffold_with(TrainingJobScaffolder)
class TrainingJobComponent(JobComponent):
    """Assets that one SageMaker Training job materialises.

    Texts of `job` may be templates: `{{ env.NAME }}`, `{{ partition_key }}` and your own template variables.
    """

    client_class = PipesSageMakerTrainingClient
    job_fields = TrainingJobFields
    job: Annotated[InstanceOf[TrainingJob] | InstanceOf[JobTemplate], _template(TrainingJobFields)]
