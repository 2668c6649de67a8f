"""`ruter-dagster demo`: runs the outdated assets of the whole chain on a small history, in Dagster.

orchestration/plan.py decides which runs are needed, orchestration/runs.py executes them. This module shows their progress.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import date, timedelta
from functools import partial

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetCheckSeverity,
    AssetKey,
    DagsterInstance,
    Definitions,
)
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from ruter_dagster.commands.demo_report import Report, same_settings
from ruter_dagster.commands.publication import (
    is_missing_from_cluster,
    read_back,
    recorded_publication,
    require_reachable_broker,
)
from ruter_dagster.config.gtfs_location import gtfs_location
from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import DEMO_ISSUE_DATE, Settings, SettingsError
from ruter_dagster.config.state_folder import require_writable_state
from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import EVALUATION, MIN_COUNTED_DATES, PUBLISHED_FORECASTS, asset_of
from ruter_dagster.contracts.model_checks import GATE_CHECKS
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.orchestration.event_log import latest_evaluation, newest_materialisation, total_rows
from ruter_dagster.orchestration.instance import open_instance, require_dagster_home
from ruter_dagster.orchestration.plan import MODEL_STAGE, Stage, outdated_stages, require_partitions, stages
from ruter_dagster.orchestration.runs import RunOutcome, RunRequest, execute, new_log
from ruter_dagster.sensors.chain import has_enough_to_train
from ruter_dagster.sources.file_versions import file_versions
from ruter_dagster.storage.stored_state import StoredState


def run_demo(settings: Settings, console: Console, on_double: bool = False) -> Report:
    """Brings the chain up to the issue date and reads the publication back. On the double of AWS, no state remains.

    Raises SettingsError before anything runs if a date has no partition. Raises PermanentFailure if a run fails or Ctrl-C
    ends the demo, with the reason and the command to continue.
    """
    operator_of(settings).require_public_holidays()
    require_dagster_home()
    from ruter_dagster.definitions import defs

    issue_date = issue_date_of(settings)
    planned = stages(issue_date, settings)
    require_partitions(planned, defs, issue_date, settings)
    require_writable_state(settings)
    report = Report(issue_date.isoformat(), settings.source_name)
    report.forecast_dates = [(issue_date + timedelta(days)).isoformat() for days in range(HORIZON_DAYS + 1)]
    done: list[str] = []
    try:
        with ExitStack() as stack:
            report.bootstrap_servers = stack.enter_context(_broker(settings, console))
            settings = settings.model_copy(update={"kafka_bootstrap_servers": report.bootstrap_servers})
            instance = stack.enter_context(open_instance())
            console.print(
                f"Issue date {issue_date}, source {settings.source_name}, state in {settings.source_dir}"
            )
            with _progress(console) as progress:
                for stage in planned:
                    if stage.title == MODEL_STAGE and not has_enough_to_train(
                        instance, settings.evaluation_days
                    ):
                        report.without_model = _WITHOUT_MODEL
                        continue
                    _bring_up_to_date(stage, defs, instance, settings, progress, report, on_double)
                    done.append(stage.title)
            _describe_assets(report, defs, instance, {key for stage in planned for key in stage.all_assets})
            _read_back(report, issue_date, settings)
    except KeyboardInterrupt:
        raise PermanentFailure(
            _INTERRUPTED_ON_DOUBLE if on_double else _interrupted(done, len(planned))
        ) from None
    return report


def issue_date_of(settings: Settings) -> date:
    """The issue date of the settings; else that of the demo network, or the newest date with counts before it and a plan.

    Raises SettingsError if the TIDES data do not allow the date of the settings. Raises PermanentFailure if the TIDES data allow
    no date, or if a warehouse has no date in the settings.
    """
    if settings.source == "demo":
        return settings.issue_date or DEMO_ISSUE_DATE
    if settings.source != "tides":
        if settings.issue_date is None:
            raise PermanentFailure(
                f"RUTER_SOURCE={settings.source} needs RUTER_ISSUE_DATE: the dates of a {settings.source} are unknown"
            )
        return settings.issue_date
    available, planned = _tides_dates(settings)
    if not available:
        raise PermanentFailure(f"The TIDES data in {settings.tides_path} have no stop visits")
    first = min(available) + timedelta(1)
    last = _newest_issue_date(max(available), planned)
    extent = f"the TIDES data in {settings.tides_path} reach from {min(available)} to {max(available)}"
    if (location := gtfs_location(settings)) is not None:
        extent += f", the timetable in {location} to {max(planned)}"
    if first > last:
        raise PermanentFailure(
            f"{extent[0].upper()}{extent[1:]}: too few dates: at least one before the issue date and {HORIZON_DAYS} after it are needed"
        )
    issue_date = settings.issue_date or last
    if not first <= issue_date <= last:
        raise SettingsError(
            f"Settings are wrong:\n  RUTER_ISSUE_DATE={issue_date}: allowed {first} to {last}: {extent}, and {HORIZON_DAYS} dates "
            "after the issue date are forecast"
        )
    return issue_date


def _tides_dates(settings: Settings) -> tuple[frozenset[date], frozenset[date]]:
    """Dates with counts, and dates with a plan: the same dates and those of the next days that have a plan."""
    from ruter_dagster.sources.configured_source import open_source
    from ruter_dagster.sources.gtfs_source import GtfsPlannedSource

    source = open_source(settings, operator_of(settings))
    available = source.available_dates() or frozenset()
    if not available or not isinstance(source, GtfsPlannedSource):
        return available, available
    ahead = {max(available) + timedelta(days) for days in range(1, HORIZON_DAYS + 2)}
    return available, available | {day for day in ahead if source.plans(day)}


def _newest_issue_date(newest: date, planned: frozenset[date]) -> date:
    """The newest date with a plan of itself and the three dates after it, at most the day after the newest counts."""

    def is_planned(issue_date: date) -> bool:
        return all(issue_date + timedelta(days) in planned for days in range(HORIZON_DAYS + 1))

    candidates = [newest + timedelta(1 - back) for back in range(HORIZON_DAYS + 1)]
    return next(filter(is_planned, candidates), newest - timedelta(HORIZON_DAYS))


def _bring_up_to_date(
    stage: Stage,
    defs: Definitions,
    instance: DagsterInstance,
    settings: Settings,
    progress: Progress,
    report: Report,
    on_double: bool,
) -> None:
    runs = _outdated_runs(stage, defs, instance, settings)
    bar = progress.add_task(stage.title, total=sum(len(run.all_assets) for run in runs) or 1, asset="")
    if not runs:
        report.up_to_date.append(stage.title)
        report.already_published |= PUBLISHED_FORECASTS in stage.all_assets
        status = "already published" if PUBLISHED_FORECASTS in stage.all_assets else "up to date"
        progress.update(bar, completed=1, asset=status)
        return
    for run in runs:
        progress.update(bar, asset=_span(run.dates))
        log = new_log(settings.source_dir / "logs", run.job)
        name = f"{stage.title} {_span(run.dates)}".strip()
        _print_in_log(progress, f"{name}: started, log in {log}")

        def report_step(asset: str, name: str = name) -> None:
            progress.update(bar, advance=1, asset=asset)
            _print_in_log(progress, f"{name}: {asset} materialised")

        outcome = execute(
            RunRequest(run.job, run.all_assets, run.dates, part_of_range=len(run.dates) < len(stage.dates)),
            instance,
            log,
            report_step,
        )
        report.runs.append(outcome.run_id)
        if not outcome.succeeded:
            raise PermanentFailure(_remedy(stage, outcome, on_double))
        progress.update(bar, asset=_span(run.dates))
        _print_in_log(progress, f"{name}: done")


def _print_in_log(progress: Progress, line: str) -> None:
    """Prints a line if the output is no terminal: a log shows progress bars only at the end."""
    if not progress.console.is_terminal:
        progress.console.print(line, soft_wrap=True, highlight=False)


def _outdated_runs(
    stage: Stage, defs: Definitions, instance: DagsterInstance, settings: Settings
) -> Sequence[Stage]:
    """The runs of a stage that are needed. A publication that the cluster lacks is needed too."""
    runs = outdated_stages(
        stage,
        defs,
        instance,
        StoredState.of(settings),
        partial(file_versions, settings),
        has_timetable=gtfs_location(settings) is not None,
    )
    if (
        not runs
        and PUBLISHED_FORECASTS in stage.all_assets
        and is_missing_from_cluster(stage.dates[0], settings)
    ):
        runs = [replace(stage, assets=(PUBLISHED_FORECASTS,))]
    return runs


def _span(dates: Sequence[date]) -> str:
    if len(dates) < 2:
        return str(dates[0]) if dates else ""
    return f"{dates[0]} to {dates[-1]}"


_WITHOUT_MODEL = (
    f"No model: fewer than {MIN_COUNTED_DATES} operating dates have counts, or too few before the dates of the evaluation. "
    "The forecasts are the baseline HA4, the mean of the same weekday and hour in the last four weeks, "
    "or a mean of wider groups. Without any counts a week before, expected_tier is none, and the forecast is a quarter of the seats"
)
_INTERRUPTED_ON_DOUBLE = "Interrupted. The double of AWS keeps nothing: run the same command to start again"


def _remedy(stage: Stage, outcome: RunOutcome, on_double: bool) -> str:
    retry = f"`{same_settings()}ruter-dagster retry {outcome.run_id}`"
    on_disk = f"run {retry} to continue from the failed step, then the same command for the rest."
    return (
        f"{stage.title}: {outcome.failure}\nNothing downstream ran. Log: {outcome.log}. After the correction, "
        + ("run the same command to start again: the double of AWS keeps nothing." if on_double else on_disk)
    )


def _interrupted(done: Sequence[str], stages: int) -> str:
    finished = (
        f"{len(done)} of {stages} runs are complete ({', '.join(done)})" if done else "No run is complete"
    )
    return f"Interrupted. {finished}; partial output was discarded. Run the same command to continue"


@contextmanager
def _broker(settings: Settings, console: Console) -> Iterator[str]:
    """Address of the cluster in the settings, else of a local broker that runs during the demo."""
    if settings.kafka_bootstrap_servers:
        require_reachable_broker(settings)
        yield settings.kafka_bootstrap_servers
        return
    if settings.runs_in_sagemaker:
        raise SettingsError("\n".join(["Settings are wrong:", *settings.broker_faults()]))
    from ruter_dagster.publishing.broker import local_broker

    with console.status("Starting Apache Kafka"), ExitStack() as stack:
        broker = stack.enter_context(local_broker(settings.source_dir / "broker"))
        running_broker = stack.pop_all()
    with running_broker:
        yield broker.bootstrap_servers


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<34}"),
        BarColumn(8),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[asset]}", table_column=Column(no_wrap=True)),
        console=console,
    )


def _describe_assets(
    report: Report, defs: Definitions, instance: DagsterInstance, assets: Collection[str]
) -> None:
    graph = defs.resolve_asset_graph()
    for key in map(AssetKey.from_user_string, sorted(assets, key=_order)):
        event = instance.get_latest_materialization_event(key)
        metadata = event.asset_materialization.metadata if event and event.asset_materialization else {}
        checks = [check for check in graph.asset_check_keys if check.asset_key == key]
        results = [result for check in checks if (result := latest_evaluation(instance, check))]
        judged = [result for result in results if _is_judged(result)]
        report.assets.append(
            {
                "asset": key.to_user_string(),
                "rows": total_rows(metadata),
                "checks_passed": sum(result.passed for result in judged),
                "checks_not_judged": len(results) - len(judged),
                "checks": len(results),
                "checks_failed": sorted(
                    result.check_name for result in results if not result.passed and not _is_warning(result)
                ),
                "checks_warned": sorted(
                    result.check_name for result in results if not result.passed and _is_warning(result)
                ),
            }
        )
    evaluation = instance.get_latest_materialization_event(AssetKey.from_user_string(EVALUATION))
    if evaluation and evaluation.asset_materialization:
        metadata = evaluation.asset_materialization.metadata
        report.accuracy = [dict(row.data) for row in getattr(metadata.get("accuracy"), "records", ())]
        report.model_version = str(metadata["model_version"].value)
        report.gate = _gate_result(instance)
    report.unknown_occupancy = _share_of_unknown_occupancy(instance, report.issue_date)


def _is_warning(result: AssetCheckEvaluation) -> bool:
    return result.severity == AssetCheckSeverity.WARN


def _gate_result(instance: DagsterInstance) -> str | None:
    """Why the model was or was not promoted, in one sentence; None if the release gate has not judged it."""
    gate = AssetCheckKey(AssetKey.from_user_string(EVALUATION), GATE_CHECKS[0].name)
    result = latest_evaluation(instance, gate)
    if result is None:
        return None
    rows = [dict(row.data) for row in getattr(result.metadata.get("gates"), "records", ())]
    worse = [f"{row['mode']} at horizon {row['horizon_days']}" for row in rows if not row["passed"]]
    if result.passed:
        return (
            "The model was promoted: in each of the "
            f"{len(rows)} combinations of mode and horizon its error is not significantly higher than the best baseline's."
        )
    return (
        f"The model was not promoted: its error is significantly higher than the best baseline's for {', '.join(worse) or 'a mode'}. "
        "The former champion stays in use."
    )


def _share_of_unknown_occupancy(instance: DagsterInstance, issue_date: str) -> float | None:
    """Share of forecasts with the occupancy level `unknown`; None without forecasts of the issue date."""
    event = newest_materialisation(instance, asset_of(LOAD_FORECASTS.name), issue_date)
    levels = getattr(event.metadata.get("occupancy_levels"), "records", ()) if event else ()
    counts = {row.data["occupancy_level"]: int(row.data["count"]) for row in levels}
    return counts.get("unknown", 0) / sum(counts.values()) if counts else None


def _is_judged(result: AssetCheckEvaluation) -> bool:
    """Whether the check was judged. A check without enough data passes with `judged: false`."""
    judged = result.metadata.get("judged")
    return judged is None or bool(judged.value)


def _order(key: str) -> tuple[int, str]:
    groups = ("raw", "quality", "loads", "features", "models", "forecasts", "monitoring")
    return groups.index(key.split("/")[0]), key


def _read_back(report: Report, issue_date: date, settings: Settings) -> None:
    publication = recorded_publication(issue_date, settings)
    if publication is None:  # a newer issue date was published before
        return
    result = read_back(publication, settings)
    report.published, report.read_back = publication.calls, result.calls
    report.journeys = result.journeys
    report.exactly_once, report.topics = result.exactly_once, list(result.topics)
