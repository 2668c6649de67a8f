"""The command line `ruter-dagster`. Each command has its own module."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import signal
import sys
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from ruter_dagster.commands.options import DATE, loaded_settings
from ruter_dagster.commands.sandbox_cli import COMMANDS as SANDBOX_COMMANDS
from ruter_dagster.config.state_folder import require_writable_state
from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.errors import PermanentFailure, StateUnavailable
from ruter_dagster.contracts.strict_json import strict_json

PORT = click.IntRange(1, 65535)
PROGRAM = "ruter-dagster"
STATE_HELP = "A state is a folder, an environment (prod, s-mybranch-1a2b3c), a Glue database, or a branch with a sandbox."


_ACCESS = "Give this user access to it, or choose another folder."
_SPACE = "Free space there, then run the same command again."
_DISK_REMEDIES = {
    errno.EACCES: _ACCESS,
    errno.EPERM: _ACCESS,
    errno.EROFS: _ACCESS,
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
}
"""What to do about an error of the disk, by its number."""


UNAVAILABLE = 3
"""Exit code if the state to clone has no forecasts, or must not be read."""


def as_typed(text: str) -> str:
    """The text with this program's commands as a person can type them: with their path if PATH does not lead to them."""
    if shutil.which(PROGRAM):
        return text
    folder = Path(sys.executable).parent
    near = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    return re.sub(rf"(?<![\w/.-]){PROGRAM} (?=[a-z])", f"{shlex.quote(str(near / PROGRAM))} ", text)


class Commands(click.Group):
    """Shows a failure that a person can act on as one message, not as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        # A service manager sends SIGTERM. It ends the command and its processes in the same way as Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return super().invoke(ctx)
        except PermanentFailure as failure:
            click.echo(as_typed(str(failure)), err=True)
            ctx.exit(UNAVAILABLE if isinstance(failure, StateUnavailable) else 1)
        except OSError as error:
            if error.errno not in _DISK_REMEDIES:
                raise
            click.echo(
                f"{error.filename or 'The disk'}: {error.strerror}. {_DISK_REMEDIES[error.errno]}", err=True
            )
            ctx.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="ruter-dagster", message="%(package)s %(version)s")
def main() -> None:
    """Forecasts how full every departure will be, from passenger counts to Kafka.

    Settings come from RUTER_* variables and .env (docs/settings.md). Start with `ruter-dagster demo`, then look with
    `ruter-dagster dev`.
    """


@main.command(short_help="The whole chain on a small history, read back from Kafka.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON instead of tables.")
@click.option(
    "--on",
    type=click.Choice(["local", "sagemaker-double"]),
    help="Where jobs run: as processes of this machine, or as SageMaker jobs on a double of AWS; by default as in the settings.",
)
@click.option(
    "--scale",
    type=click.Choice(["demo", "ruter"]),
    help="Size of the demo network: ruter has 300 lines and 530,000 departures a day, and takes half an hour on 2 cores.",
)
def demo(as_json: bool, on: str | None, scale: str | None) -> None:
    """Run the whole chain on a small history and read its forecasts back from Kafka. Takes 3 minutes on 2 cores.

    \b
    The demo network by default; on real passenger counts:
      RUTER_SOURCE=tides RUTER_TIDES_PATH=examples/aarhus_1a ruter-dagster demo

    Run it again: only outdated assets are rebuilt. State is in state/<source>, in other environments than local in
    state/<environment>/<source>.

    With --on sagemaker-double, SageMaker, S3 and Glue are simulated on this machine. Each job is a SageMaker job, tables are in the
    Glue catalog and files in S3. This double of AWS starts empty each time, in state/on-sagemaker-double. Settings of AWS, Kafka and
    Slack in the environment and .env are ignored.
    """
    if scale:  # as a variable, which all processes of the runs read
        os.environ["RUTER_DEMO_SCALE"] = scale
    if on == "local":
        os.environ["RUTER_LAUNCHER"] = on
    from rich.console import Console

    from ruter_dagster.commands.demo import run_demo
    from ruter_dagster.commands.demo_report import show

    console = Console(stderr=as_json)
    with ExitStack() as stack:
        if on == "sagemaker-double":
            from ruter_dagster.commands.local_aws import sagemaker_double

            stack.enter_context(sagemaker_double(console))
        settings = loaded_settings()
        report = run_demo(settings, console, on == "sagemaker-double")
    if as_json:
        click.echo(strict_json(report.to_json()))
    else:
        show(report, Console(), settings.state_dir if on == "sagemaker-double" else None)
    if not report.exactly_once:
        sys.exit(1)


@main.command(short_help="Apache Kafka on this machine, without Docker.")
@click.option("--port", type=PORT, default=9092, show_default=True, help="Port on the loopback interface.")
@click.option("--fetch", is_flag=True, help="Only download Kafka's jars (44 MB, once) and check them.")
def broker(port: int, fetch: bool) -> None:
    """Run a real Apache Kafka node here until Ctrl-C, without Docker. Starts in 10 seconds.

    Its data stays in the folder `broker` of the source's state. Assets that are materialised while it runs publish to it. Other
    consumers connect to 127.0.0.1:9092. To publish on another cluster, set KAFKA_BOOTSTRAP_SERVERS instead.
    """
    from ruter_dagster.publishing.broker import serve
    from ruter_dagster.publishing.kafka_jars import broker_jars

    if fetch:
        broker_jars()
        return
    serve(require_writable_state(loaded_settings()) / "broker", port)


@main.command(short_help="Forecast past service dates, and compare with the counts.")
@click.option(
    "--from",
    "first",
    type=DATE,
    metavar="YYYY-MM-DD",
    required=True,
    help="First service date to forecast.",
)
@click.option(
    "--to", "last", type=DATE, metavar="YYYY-MM-DD", required=True, help="Last service date to forecast."
)
@click.option(
    "--horizon",
    type=click.IntRange(1, HORIZON_DAYS + 1),
    default=2,
    show_default=True,
    help="Days ahead, N: a forecast for T uses visits up to T - N.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Parquet file to write."
)
@click.option(
    "--history-days",
    type=click.IntRange(min=1),
    help="Days of history before the first date; by default all of TIDES, 126 of the demo.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON instead of tables.")
def backtest(
    first: datetime, last: datetime, horizon: int, out: Path, history_days: int | None, as_json: bool
) -> None:
    """Forecast past service dates with the counts known at the time, and compare with their counts. Takes a few minutes.

    A new model is trained for each week, on visits up to N days before it. The file has one row for each departure: service_date,
    trip_id_performed, trip_stop_sequence, mean, p10, p50, p90, prob_above_seats, occupancy. The command prints WAPE,
    bias and coverage, and the baselines: last week (LW), mean of the last 4 (HA4) and 8 (HA8) weeks.

    \b
      RUTER_SOURCE=tides RUTER_TIDES_PATH=examples/aarhus_1a ruter-dagster backtest \\
        --from 2023-09-01 --to 2023-11-30 --horizon 2 --out forecasts.parquet
    """
    if last < first:
        raise click.BadParameter(f"{last:%Y-%m-%d} is before --from {first:%Y-%m-%d}", param_hint="--to")
    from ruter_dagster.commands.backtest import run_backtest, show

    result = run_backtest(loaded_settings(), first.date(), last.date(), horizon, out, history_days)
    if as_json:
        click.echo(strict_json(result.to_json()))
    else:
        show(result)


@main.command(short_help="Load forecasts of a date, the most crowded departures first.")
@click.option(
    "--date",
    "day",
    type=DATE,
    metavar="YYYY-MM-DD",
    help="Operating date that is forecast; by default the newest issue date.",
)
@click.option("--line", help="Id of a line, its last part, or the line's name: RUT:Line:20 or 20.")
@click.option("--stop", help="Id of a stop, its last part, or part of its name. Departures are by time.")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Number of departures to show.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the forecasts as JSON instead of a table.")
def forecasts(day: datetime | None, line: str | None, stop: str | None, top: int, as_json: bool) -> None:
    """Show the load forecasts of an operating date, from its newest issue date. Takes a few seconds.

    Without --stop, the departures most likely to have more passengers than seats come first. Times are local.

    \b
      ruter-dagster forecasts --date 2026-11-21 --line 20 --top 5
    """
    from rich.console import Console

    from ruter_dagster.commands.forecasts import Selection, load_forecasts, show

    selection = Selection(day.date() if day else None, line, stop, top)
    forecast_list = load_forecasts(loaded_settings(), selection)
    if as_json:
        click.echo(strict_json(forecast_list.to_json()))
    else:
        show(forecast_list, Console())


@main.command(short_help="The rejected rows of a date, with the reasons.")
@click.option("--date", "day", type=DATE, metavar="YYYY-MM-DD", required=True, help="Service date.")
@click.option("--json", "as_json", is_flag=True, help="Print the original rows as JSON.")
def rejected(day: datetime, as_json: bool) -> None:
    """List the rejected stop visits of a service date: file, line and reason. Takes seconds.

    They are in the table raw.rejected_visits. The other rows of the date are used, unless too many were rejected. Correct the
    rows in the source, then materialise raw/stop_visits for the date again.
    """
    from rich.console import Console

    from ruter_dagster.commands.rejected import rejected_rows, show

    rejected = rejected_rows(loaded_settings(), day.date())
    if as_json:
        click.echo(strict_json(rejected.to_json()))
    else:
        show(rejected, Console())


@main.command(short_help="Dagster's UI, with dashboard, MLflow and Kafka.")
@click.option(
    "--port", type=PORT, default=3000, show_default=True, help="Port of the UI on the loopback interface."
)
@click.option("--dashboard-port", type=PORT, default=8501, show_default=True, help="Port of the dashboard.")
@click.option("--mlflow-port", type=PORT, default=5000, show_default=True, help="Port of MLflow.")
@click.option(
    "--reports-port", type=PORT, help="Port of the quality reports; by default that of RUTER_REPORTS_URL."
)
def dev(port: int, dashboard_port: int, mlflow_port: int, reports_port: int | None) -> None:
    """Open Dagster's UI at http://127.0.0.1:3000 on the history of the demo. Starts in 15 seconds.

    Beside it run a Kafka broker, the dashboard of forecasts at http://127.0.0.1:8501, and MLflow at http://127.0.0.1:5000 once a
    training is recorded. The command prints their addresses and that of the newest quality report.

    RUTER_SOURCE and RUTER_STATE_DIR choose the history. With KAFKA_BOOTSTRAP_SERVERS set, no broker is started. Quality reports
    are served at RUTER_REPORTS_URL. Schedules and sensors are off on a laptop: turn them on under Automation. Ctrl-C ends all.
    """
    from ruter_dagster.commands.dev import Ports, serve_dagster

    sys.exit(serve_dagster(loaded_settings(), Ports(port, dashboard_port, mlflow_port, reports_port)))


@main.command(short_help="Forecasts, their accuracy and drift in a browser.")
@click.option("--port", type=PORT, default=8501, show_default=True, help="Port of the loopback interface.")
@click.option(
    "--with",
    "others",
    metavar="STATE",
    multiple=True,
    help=f"Another state for the page Compare; repeatable. {STATE_HELP}",
)
def dashboard(port: int, others: tuple[str, ...]) -> None:
    """Show tomorrow's crowded departures and yesterday's forecasts against truth, in a browser. Starts in 3 seconds.

    The pages read the tables of this state, and show new rows at the next click. Nothing is written. Ctrl-C ends it.

    \b
      ruter-dagster dashboard --with ../main/state/demo
    """
    from ruter_dagster.commands.dashboard import serve_dashboard

    sys.exit(serve_dashboard(loaded_settings(), port, others))


@main.command(short_help="Apply changed vehicles of the plan to published forecasts.")
@click.option(
    "--issue-date", type=DATE, metavar="YYYY-MM-DD", help="Issue date to correct; by default the newest."
)
def capacities(issue_date: datetime | None) -> None:
    """Apply changed vehicles of the plan to the forecasts of an issue date, and publish the journeys that change. Takes a minute.

    Reads the plan from today on again. Loads stay as they are: probability above the seats, level and percentage follow from the
    new seats and places. No model is run.
    """
    from ruter_dagster.commands.capacities import apply

    day = issue_date.date() if issue_date else None
    changed = apply(loaded_settings(), day, click.echo)
    click.echo(f"{changed:,} departures have another capacity")


@main.command(short_help="Continue a failed run from its failed step.")
@click.argument("run_id")
@click.option(
    "--whole", is_flag=True, help="Run every step again, not only the failed ones and those after them."
)
def retry(run_id: str, whole: bool) -> None:
    """Continue a failed run from its failed step, with the same dates, assets and configuration. Takes as long as those steps.

    RUN_ID is a run's id or the beginning of it, as the UI and alerts show it. Use --whole after a correction of the source, so
    that it is read again.
    """
    from ruter_dagster.commands.rerun import retry_run

    sys.exit(retry_run(loaded_settings(), run_id, whole, click.echo))


@main.command(short_help="Repeat a run with the inputs that it used, and compare.")
@click.argument("run_id")
def replay(run_id: str) -> None:
    """Repeat a run with the inputs that it used, and compare the content of each date. Takes as long as the run did.

    RUN_ID is a run's id or the beginning of it. The snapshots and the model version that the run recorded are pinned. The exit
    code is 1 if any content differs.
    """
    from ruter_dagster.commands.rerun import replay_run

    sys.exit(replay_run(loaded_settings(), run_id, click.echo))


@main.command("pipeline-definition", short_help="The chain as a SageMaker Pipeline definition, in JSON.")
@click.argument("name", type=click.Choice(["daily", "training"]), default="daily")
@click.option("--role", help="Default of the parameter Role; else RUTER_SAGEMAKER_ROLE, else ${role_arn}.")
@click.option("--image", help="Default of the parameter Image; else RUTER_SAGEMAKER_IMAGE, else ${image}.")
def pipeline_definition(name: str, role: str | None, image: str | None) -> None:
    """Print the chain as a SageMaker Pipeline definition: the jobs of one issue date, or of a training. Takes seconds.

    \b
    The jobs are the same as in Dagster, and can run in Studio without Dagster. They use the settings of this environment.
      ruter-dagster pipeline-definition daily --role ROLE --image IMAGE > daily.json
      aws sagemaker create-pipeline --pipeline-name daily --role-arn ROLE --pipeline-definition file://daily.json
      aws sagemaker start-pipeline-execution --pipeline-name daily --pipeline-parameters Name=IssueDate,Value=2026-11-20

    Without --role and --image, the definition has ${role_arn} and ${image}, which Terraform's templatefile can fill in.
    IssueDate is `today` by default: the operator's date at the start of the execution. Retries back off exponentially.
    """
    # The definition has parameters for image and role. With local jobs, loading the settings does not require them.
    os.environ["RUTER_LAUNCHER"] = "local"
    settings = loaded_settings()
    from ruter_dagster.commands.pipeline_definition import pipeline_definition as render_definition

    definition = render_definition(
        name,
        settings,
        role=role or settings.sagemaker_role or "${role_arn}",
        image=image or settings.sagemaker_image or "${image}",
    )
    click.echo(strict_json(definition))


@main.command(short_help="Start this state from the tables and models of another one.")
@click.option("--from", "source", metavar="STATE", required=True, help=STATE_HELP)
@click.option("--replace", is_flag=True, help="Drop tables that this state has of its own.")
def clone(source: str, replace: bool) -> None:
    """Start this state from the tables of another one, at their newest snapshots. Takes seconds: no rows are copied.

    New rows are written into this state, and the other state is only read. The verdicts on its rows and its champions are copied.
    Only a branch's sandbox and local states can be cloned into. The exit code is 3 if the other state has no forecasts, or must not
    be read.

    \b
      RUTER_STATE_DIR=state/try ruter-dagster clone --from state/demo
    """
    from ruter_dagster.commands import clone as command

    click.echo(command.describe(command.clone(loaded_settings(), source, replace), source))


@main.command(short_help="Forecast past issue dates again, with this code.")
@click.option("--from", "source", metavar="STATE", help=f"Clone this state first. {STATE_HELP}")
@click.option("--replace", is_flag=True, help="With --from: drop tables that this state has of its own.")
@click.option(
    "--issue-dates",
    type=click.IntRange(1, 60),
    default=7,
    show_default=True,
    help="Number of newest issue dates to forecast.",
)
@click.option("--train", is_flag=True, help="Compute features again and train a model with this code first.")
def reforecast(source: str | None, replace: bool, issue_dates: int, train: bool) -> None:
    """Forecast the newest issue dates of a clone again, with this code. Takes about a minute for each.

    \b
    What does a change do to the forecasts? In the checkout with the change:
      export RUTER_STATE_DIR=state/try
      ruter-dagster reforecast --from ../main/state/demo
      ruter-dagster compare

    Each issue date has the model of its original forecast, so that only the code differs. Use --train if the change is one of
    features or of the model: the model is then trained on dates before the first of the issue dates.
    """
    from ruter_dagster.commands import clone as cloning
    from ruter_dagster.commands import reforecast as command

    settings = loaded_settings()
    if source:
        click.echo(cloning.describe(cloning.clone(settings, source, replace), source))
    result = command.reforecast(settings, issue_dates, train, click.echo)
    cost = f", {result.cost:.2f} USD" if result.cost is not None else ""
    click.echo(
        f"{len(result.versions)} issue dates forecast in {len(result.runs)} runs{cost}. See `ruter-dagster compare`"
    )


@main.command(short_help="Compare forecasts with those of another state, in one note.")
@click.option(
    "--with",
    "other",
    metavar="STATE",
    help=f"snapshot:ID of this state's forecasts, or another state; by default the state that this one was cloned from. {STATE_HELP}",
)
@click.option(
    "--issue-dates",
    type=click.IntRange(1, 60),
    default=7,
    show_default=True,
    help="Number of newest issue dates that both have.",
)
@click.option(
    "--link",
    "links",
    metavar="NAME=ADDRESS",
    multiple=True,
    help="A link at the end of the note; repeatable.",
)
@click.option("--post", is_flag=True, help="Post the note to the branch's open merge request in GitLab.")
def compare(other: str | None, issue_dates: int, links: tuple[str, ...], post: bool) -> None:
    """Compare the forecasts of this state with those of another, and print one note in Markdown. Takes seconds.

    The note has the difference in forecasts, accuracy against counted loads by mode and line, drift, cost, snapshots and links.
    WAPE differences have 95 % intervals by a bootstrap over service dates. Loads are read from the other state if it has them.
    A clone is compared with the pinned snapshots of the state that it was cloned from.

    \b
      ruter-dagster compare --with snapshot:5937117119577207079
      ruter-dagster compare --with ../main/state/demo

    With --post, a later note of the same branch replaces the earlier one. GitLab CI sets the variables, except
    GITLAB_NOTE_TOKEN, a project access token with the scope api.
    """
    if wrong := [link for link in links if not all(link.partition("="))]:
        raise click.BadParameter(f"{wrong[0]} is not as in Dashboard=https://…", param_hint="--link")
    from ruter_dagster.commands import compare as command

    settings = loaded_settings()
    merge_requests = command.open_merge_requests() if post else []
    named = {name: address for name, _, address in (link.partition("=") for link in links)}
    note = command.compare(settings, command.Request(other, issue_dates, named))
    click.echo(note)
    for outcome in command.post(settings, merge_requests, note) if post else []:
        click.echo(outcome, err=True)


@main.command(short_help="Estimated cost of SageMaker jobs by asset, run, branch and day.")
@click.option(
    "--from", "first", type=DATE, metavar="YYYY-MM-DD", required=True, help="First day, local time."
)
@click.option("--to", "last", type=DATE, metavar="YYYY-MM-DD", required=True, help="Last day, local time.")
@click.option("--json", "as_json", is_flag=True, help="Print the sums as JSON instead of tables.")
def cost(first: datetime, last: datetime, as_json: bool) -> None:
    """Sum the estimated cost of the jobs that ended between two days, in US dollars. Takes seconds.

    The costs are those in the metadata of materialisations, and those of failed jobs in the metadata of observations. Each
    environment and sandbox has its own history, so the sums are of one of them.
    """
    if last < first:
        raise click.BadParameter(f"{last:%Y-%m-%d} is before --from {first:%Y-%m-%d}", param_hint="--to")
    from rich.console import Console

    from ruter_dagster.commands.cost import cost_report, show

    report = cost_report(loaded_settings(), first.date(), last.date())
    if as_json:
        click.echo(strict_json(report.to_json()))
    else:
        show(report, Console())


@main.command("athena-views", short_help="Athena's views of forecasts and their accuracy, in JSON.")
def athena_views() -> None:
    """Print the Athena views that dashboards read, as Terraform's module `catalog` takes them. Takes a second."""
    from ruter_dagster.dashboards.views import VIEWS

    click.echo(strict_json({name: view.to_json() for name, view in VIEWS.items()}))


@main.command("quicksight-definition", short_help="The dashboard as a QuickSight definition, in JSON.")
def quicksight_definition() -> None:
    """Print the definition of QuickSight's analysis and dashboard, as Terraform's module `bi` takes it. Takes a second.

    It has four sheets: the network, its lines, the departures of a line, and drift.
    """
    from ruter_dagster.dashboards.quicksight import dashboard_definition

    click.echo(strict_json(dashboard_definition()))


for _command in SANDBOX_COMMANDS:
    main.add_command(_command)
