"""What runs in the container of test_job_messages.py: it writes its messages as the jobs of this project do."""

from __future__ import annotations

from dagster_pipes import PipesS3ContextLoader, open_dagster_pipes

from dagster_sagemaker_tests.faults.container import S3, sent
from ruter_dagster.jobs.pipes import S3Messages


def main() -> None:
    """Two seconds pass before a message whose answer was lost is written again."""
    s3 = S3(pause=2)
    with open_dagster_pipes(
        context_loader=PipesS3ContextLoader(s3), message_writer=S3Messages(s3, interval=0.5)
    ) as context:
        context.log.info("counting")
        context.report_asset_materialization(metadata={"rows": 1})
        sent(context, 1)


if __name__ == "__main__":
    main()
