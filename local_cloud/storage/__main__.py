"""The local Cloud Storage as a process of its own: ``python -m local_cloud.storage --help``."""

from __future__ import annotations

import argparse
from pathlib import Path

from local_cloud.serving import HOST, serve
from local_cloud.storage.app import storage_app


def main() -> None:
    """Serves until the process is told to end."""
    parser = argparse.ArgumentParser(prog="python -m local_cloud.storage", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where all data is kept")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default=HOST, help="its address (default: %(default)s)")
    parser.add_argument(
        "--project", action="append", default=[], help="that exists (default: local-project)"
    )
    parser.add_argument("--bucket", action="append", default=[], help="to create if it is missing")
    options = parser.parse_args()
    projects = options.project or ["local-project"]
    serve(storage_app(options.directory, projects, options.bucket), options.port, options.host)


if __name__ == "__main__":
    main()
