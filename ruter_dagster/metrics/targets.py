"""Where metrics are sent, as the settings say."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from ruter_dagster.contracts.metrics import Measurement
from ruter_dagster.metrics.dogstatsd import send_datagrams
from ruter_dagster.metrics.emf import emf_documents, write_documents


@dataclass(frozen=True)
class MetricTargets:
    """The targets of one process.

    `environment`: the value of the dimension Environment and of the tag `env`. `uses_emf`: write EMF, to standard output
    or to the agent at `emf_endpoint`. `statsd`: host and port of DataDog's agent, or None.
    """

    environment: str
    uses_emf: bool
    emf_endpoint: str | None = None
    statsd: tuple[str, int] | None = None

    def send(self, measurements: Collection[Measurement], now: datetime) -> None:
        """Sends measurements to all targets. DogStatsD comes last, so that a repetition after an error sends it once.

        Raises OSError if the agent of EMF does not take them.
        """
        if self.uses_emf:
            write_documents(emf_documents(measurements, self.environment, now), self.emf_endpoint)
        if self.statsd:
            send_datagrams(measurements, self.environment, *self.statsd)
