"""The local BigQuery as a process: ``python -m local_cloud.bigquery --directory D --port P``."""

from __future__ import annotations

import argparse
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local_cloud.bigquery.api_jobs import JobsApi
from local_cloud.bigquery.api_tables import TablesApi
from local_cloud.bigquery.store import Store
from local_cloud.errors import ServiceError
from local_cloud.faults import Faults
from local_cloud.serving import HOST, build_app, serve


def main() -> None:
    """Serves until told to end."""
    parser = argparse.ArgumentParser(prog="python -m local_cloud.bigquery", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where everything is kept")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default=HOST, help="its address (default: %(default)s)")
    parser.add_argument(
        "--project", action="append", help="a project that exists; may be given again"
    )
    arguments = parser.parse_args()
    app = bigquery_app(arguments.directory, arguments.project or ["local-project"])
    serve(app, arguments.port, arguments.host)


def bigquery_app(directory: Path, projects: list[str]) -> Starlette:
    """The service on a directory."""
    store = Store(directory)
    tables = TablesApi(store, projects)
    upload = Route("/upload/bigquery/v2/{rest:path}", _upload, methods=["POST", "PUT"])
    routes = [*tables.routes(), *JobsApi(store, projects, tables).routes(), upload]
    return build_app(routes, Faults())


async def _upload(_: Request) -> Response:
    raise ServiceError(
        501,
        "The local BigQuery does not load uploaded files (load_table_from_file, …_json and the "
        "like): put the file into a bucket and load it from gs://.",
    )


if __name__ == "__main__":
    main()
