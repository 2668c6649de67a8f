"""A process that starts a broker, prints `<bootstrap servers> <pid of Java>` and waits: `owner.py DATA_DIR`."""

from __future__ import annotations

import sys
from pathlib import Path

from ruter_dagster.publishing.broker import local_broker

if __name__ == "__main__":
    with local_broker(Path(sys.argv[1])) as broker:
        print(broker.bootstrap_servers, broker.pid, flush=True)
        sys.stdin.read()
