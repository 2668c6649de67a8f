"""The training sample of a date at the size of Ruter: `python -m benchmarks.sample --state FOLDER`, the folder of `benchmarks.season`.

The job `sample`, run for three dates that have loads and features: seconds, CPU seconds and peak memory of each, beside a plain
scan of the files that it reads. Each date's sample is written anew.
"""

from __future__ import annotations

import resource
import time

from benchmarks.state import parsed_settings
from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, TRAINING_SAMPLE
from ruter_dagster.contracts.jobs import Sample
from ruter_dagster.contracts.tables import STOP_LOADS
from ruter_dagster.jobs import sample
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import Reporter

DATES = 3


def main() -> None:
    settings = parsed_settings(__doc__)
    parameters = Sample(dates=(), rows=settings.training_rows_per_date, seed=settings.training_seed)
    store = JobContext(settings, parameters, Container(settings.source_dir), Reporter(None)).store
    for day in store.dates(TRAINING_SAMPLE)[-DATES:]:
        started = time.perf_counter()
        rows = sum(store.read(table, [day]).height for table in (DEPARTURE_FEATURES, STOP_LOADS))
        scan = time.perf_counter() - started
        parameters = parameters.model_copy(update={"dates": (day,)})
        context = JobContext(settings, parameters, Container(settings.source_dir), Reporter(None))
        started, cpu = time.perf_counter(), time.process_time()
        sample.run(parameters, context)
        print(
            f"{day}: {store.read(TRAINING_SAMPLE, [day]).height:,} of {rows:,} rows, {time.perf_counter() - started:.1f} s, "
            f"{time.process_time() - cpu:.1f} CPU s, plain scan {scan:.1f} s, "
            f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB"
        )


if __name__ == "__main__":
    main()
