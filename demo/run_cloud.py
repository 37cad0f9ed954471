"""Runs the local cloud with the example's files for clients in other containers."""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

from demo.on_local_cloud import BUCKET, bucket_of, started_cloud, upload_flights

# Fixed: the variables of the clients in docker-compose.yaml name them.
PORTS = {
    "gateway": 9000,
    "storage": 9001,
    "dataflow": 9002,
    "dataflow_grpc": 9003,
    "bigquery": 9004,
}


def main() -> None:
    """Starts it, and waits to be told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where it keeps all it has")
    parser.add_argument("--host", required=True, help="the name of its container")
    options = parser.parse_args()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with started_cloud(options.directory, host=options.host, ports=PORTS) as cloud:
        count = upload_flights(bucket_of(cloud))
        print(f"{count} days of flights are in gs://{BUCKET}/flights/", flush=True)
        ended.wait()


if __name__ == "__main__":
    main()
