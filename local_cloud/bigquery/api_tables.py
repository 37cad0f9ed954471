"""The methods of datasets, tables and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.routing import Route

from local_cloud.bigquery import engine
from local_cloud.bigquery.calls import Call, page, route
from local_cloud.bigquery.naming import (
    PARTITIONS_SUMMARY,
    TableId,
    already_exists,
    check_dataset,
    not_found,
    parse_partitioning,
    parse_reference,
)
from local_cloud.bigquery.rows import encode_rows
from local_cloud.bigquery.schema import Field, difference, parse_fields
from local_cloud.bigquery.store import Json, Store, now_ms
from local_cloud.bigquery.tables import etag, new_table, partitions_summary, shown
from local_cloud.errors import ServiceError

# More rows than this are several pages, whatever the client asks for.
_PAGE_ROWS = 20_000
_DATASETS = "/projects/{project}/datasets"
_TABLES = _DATASETS + "/{dataset}/tables"


class TablesApi:
    """Answers the calls about datasets, tables and their rows."""

    def __init__(self, store: Store, projects: Sequence[str]) -> None:
        self._store = store
        self._projects = projects

    def routes(self) -> list[Route]:
        """The routes of all methods."""
        dataset, table = _DATASETS + "/{dataset}", _TABLES + "/{table}"
        methods = [
            ("GET", "/projects", "projects.list", self.list_projects),
            ("GET", _DATASETS, "datasets.list", self.list_datasets),
            ("POST", _DATASETS, "datasets.insert", self.insert_dataset),
            ("GET", dataset, "datasets.get", self.get_dataset),
            ("PATCH", dataset, "datasets.patch", self.patch_dataset),
            ("DELETE", dataset, "datasets.delete", self.delete_dataset),
            ("GET", _TABLES, "tables.list", self.list_tables),
            ("POST", _TABLES, "tables.insert", self.insert_table),
            ("GET", table, "tables.get", self.get_table),
            ("PATCH", table, "tables.patch", self.patch_table),
            ("DELETE", table, "tables.delete", self.delete_table),
            ("GET", f"{table}/data", "tabledata.list", self.list_rows),
            ("POST", f"{table}/insertAll", "tabledata.insertAll", self.insert_all),
        ]
        return [route(verb, path, name, call, self._projects) for verb, path, name, call in methods]

    def list_projects(self, call: Call) -> Json:
        """Lists the projects that were named at start."""
        found = [
            {"kind": "bigquery#project", "id": one, "projectReference": {"projectId": one}}
            for one in self._projects
        ]
        return page(call, "bigquery#projectList", "projects", found, 50)

    def list_datasets(self, call: Call) -> Json:
        """Lists datasets; those that begin with an underscore only if all are asked for."""
        kept = "kind id datasetReference location labels".split()
        found: list[Json] = [
            {key: one[key] for key in kept if key in one}
            for one in self._store.datasets(call.project)
            if call.flag("all") or not one["datasetReference"]["datasetId"].startswith("_")
        ]
        return page(call, "bigquery#datasetList", "datasets", found, 50)

    def insert_dataset(self, call: Call) -> Json:
        """Creates a dataset."""
        name = str((call.body.get("datasetReference") or {}).get("datasetId", ""))
        check_dataset(name)
        with self._store.transaction():
            if self._store.dataset(call.project, name):
                raise already_exists("Dataset", f"{call.project}:{name}")
            resource = dict(call.body) | {
                "kind": "bigquery#dataset",
                "id": f"{call.project}:{name}",
                "datasetReference": {"projectId": call.project, "datasetId": name},
                "location": call.body.get("location") or "US",
                "creationTime": str(now_ms()),
                "type": "DEFAULT",
            }
            return self._save_dataset(resource)

    def get_dataset(self, call: Call) -> Json:
        """Returns a dataset."""
        return self._dataset(call)

    def patch_dataset(self, call: Call) -> Json:
        """Changes what the body names of a dataset."""
        with self._store.transaction():
            old = self._dataset(call)
            _check_unchanged(call, old["etag"])
            fixed = {
                key: old[key] for key in ("datasetReference", "location", "creationTime", "id")
            }
            return self._save_dataset(_patched(old, call.body) | fixed)

    def delete_dataset(self, call: Call) -> None:
        """Deletes a dataset; one that has tables only if asked to."""
        with self._store.transaction():
            self._dataset(call)
            name = call.path["dataset"]
            if self._store.tables(call.project, name) and not call.flag("deleteContents"):
                raise ServiceError(
                    400, f"Dataset {call.project}:{name} is still in use", reason="resourceInUse"
                )
            self._store.delete_dataset(call.project, name)

    def _dataset(self, call: Call) -> Json:
        found = self._store.dataset(call.project, call.path["dataset"])
        if found is None:
            raise not_found("Dataset", f"{call.project}:{call.path['dataset']}")
        return found

    def _save_dataset(self, resource: Json) -> Json:
        resource["lastModifiedTime"] = str(now_ms())
        resource["etag"] = etag({key: value for key, value in resource.items() if key != "etag"})
        self._store.put_dataset(resource)
        return resource

    def list_tables(self, call: Call) -> Json:
        """Lists the tables of a dataset."""
        self._dataset(call)
        kept = "kind id tableReference type labels timePartitioning clustering creationTime".split()
        tables = self._store.tables(call.project, call.path["dataset"])
        found: list[Json] = [{key: one[key] for key in kept if key in one} for one in tables]
        return page(call, "bigquery#tableList", "tables", found, 50) | {"totalItems": len(found)}

    def insert_table(self, call: Call) -> Json:
        """Creates a table."""
        reference = {**(call.body.get("tableReference") or {}), "projectId": call.project}
        name, decorator = parse_reference(reference | {"datasetId": call.path["dataset"]}, "")
        if decorator:
            raise ServiceError(400, f'Invalid table ID "{name.table}${decorator}".')
        with self._store.transaction():
            resource = new_table(self._store, name, call.body)
            if self._store.table(name):
                raise already_exists("Table", name)
            self._store.put_table(name, resource)
            return shown(self._store, resource)

    def get_table(self, call: Call) -> Json:
        """Returns a table."""
        _, partition, found = self._table(call)
        with self._store.transaction():
            return shown(self._store, found, partition=partition)

    def patch_table(self, call: Call) -> Json:
        """Changes what the body names of a table; a schema can be added to."""
        with self._store.transaction():
            name, _, old = self._table(call)
            _check_unchanged(call, shown(self._store, old)["etag"])
            body = _patched(old, call.body)
            resource = new_table(self._store, name, body | {"creationTime": old["creationTime"]})
            if parse_partitioning(old) != parse_partitioning(resource):
                raise ServiceError(400, "Cannot change partitioning of an existing table.")
            before, after = (
                parse_fields(one.get("schema", {}).get("fields", ())) for one in (old, resource)
            )
            _check_new_schema(name, before, after)
            self._store.put_table(name, resource)
            return shown(self._store, resource)

    def delete_table(self, call: Call) -> None:
        """Deletes a table, or one of its partitions."""
        with self._store.transaction():
            name, partition, _ = self._table(call)
            if partition is None:
                self._store.delete_table(name)
            else:
                self._store.remove_files(name, partition)

    def list_rows(self, call: Call) -> Json:
        """Returns a page of a table's or partition's rows."""
        with self._store.reading():
            with self._store.transaction():
                name, partition, resource = self._table(call)
                files = self._store.files(
                    name, None if partition == PARTITIONS_SUMMARY else partition
                )
                version = str(self._store.changed(name))
            fields = parse_fields(resource.get("schema", {}).get("fields", ()))
            if partition == PARTITIONS_SUMMARY:
                fields, summary = partitions_summary(name, files, int(resource["creationTime"]))
                return _page(call, _selected(fields, call), summary, len(summary))
            start = _start(call, version)
            total = sum(file.rows for file in files)
            fields = _selected(fields, call)
            count = min(call.number("maxResults", _PAGE_ROWS), _PAGE_ROWS)
            rows = engine.read(files, fields, start, count) if fields and start < total else []
            answer = _page(call, fields, rows, total)
            if rows and start + len(rows) < total:
                answer["pageToken"] = f"{version}-{start + len(rows)}"
            return answer

    def insert_all(self, _: Call) -> Json:
        """Refuses streaming."""
        raise ServiceError(
            501,
            "The local BigQuery does not take streamed rows (tabledata.insertAll): load a file.",
        )

    def _table(self, call: Call) -> tuple[TableId, str | None, Json]:
        reference = {"datasetId": call.path["dataset"], "tableId": call.path["table"]}
        name, partition = parse_reference(reference, call.project)
        if self._store.dataset(name.project, name.dataset) is None:
            raise not_found("Dataset", f"{name.project}:{name.dataset}")
        found = self._store.table(name)
        if found is None:
            raise not_found("Table", name)
        return name, partition, found


def _patched(old: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    """A resource with a patch: null removes, a document is patched itself, all else replaces."""
    found = dict(old)
    for key, value in new.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = _patched(found[key], value)
        else:
            found[key] = value
    return found


def _check_unchanged(call: Call, current: str) -> None:
    if call.if_match not in (None, "*", current):
        raise ServiceError(412, "Precondition check failed.", reason="conditionNotMet")


def _check_new_schema(name: TableId, before: Sequence[Field], after: Sequence[Field]) -> None:
    # The old rows must fit into the new schema: fields can be added, or become nullable.
    if reason := difference(str(name), after, before):
        raise ServiceError(400, reason)


def _selected(fields: Sequence[Field], call: Call) -> tuple[Field, ...]:
    chosen = call.query.get("selectedFields")
    if not chosen:
        return tuple(fields)
    names = [name.strip().lower() for name in chosen.split(",")]
    for name in names:
        if "." in name:
            raise ServiceError(501, f"The local BigQuery selects whole columns only, not {name}.")
        if name not in (field.name.lower() for field in fields):
            raise ServiceError(400, f"No such field: {name}.", location="selectedFields")
    return tuple(field for field in fields if field.name.lower() in names)


def _start(call: Call, version: str) -> int:
    token = call.query.get("pageToken")
    if not token:
        return call.number("startIndex", 0)
    before, _, start = token.partition("-")
    if before != version or not start.isdecimal():
        raise ServiceError(
            400,
            "The table was changed since the first page was read: begin again.",
            location="pageToken",
        )
    return int(start)


def _page(
    call: Call, fields: Sequence[Field], rows: Sequence[Mapping[str, object]], total: int
) -> Json:
    int64 = call.flag("formatOptions.useInt64Timestamp")
    answer: Json = {"kind": "bigquery#tableDataList", "totalRows": str(total)}
    if rows:  # Clients take an empty list for the first page, and a missing one for none yet.
        answer["rows"] = encode_rows(rows, fields, int64_timestamps=int64)
    return answer
