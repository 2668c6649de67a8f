"""On the path of a publishing job: its broker is killed when every message is sent and nothing committed.

Python imports this at its start. `RUTER_TEST_BROKER_PID` is the broker's process.
"""

import os
import signal
import sys
from contextlib import suppress

PATIENCE_SECONDS = 2.0

if sys.orig_argv[-2:] == ["ruter_dagster.jobs", "publish"]:
    import confluent_kafka

    from ruter_dagster.publishing import cluster

    class ProducerWhoseBrokerDies(confluent_kafka.Producer):
        def commit_transaction(self, *arguments):
            self.flush()
            with suppress(ProcessLookupError):
                os.kill(int(os.environ["RUTER_TEST_BROKER_PID"]), signal.SIGKILL)
            super().commit_transaction(*arguments)

    def impatient(settings):
        return cluster_connection(settings).model_copy(update={"patience_seconds": PATIENCE_SECONDS})

    cluster_connection = cluster.cluster_connection
    cluster.cluster_connection = impatient
    confluent_kafka.Producer = ProducerWhoseBrokerDies
