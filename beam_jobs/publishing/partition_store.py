"""The partitions of a dataset in the storage: runs begin, are published, restored, discarded.

A run writes below a folder of its own. To publish it is to replace the partition's manifest by one
that names that folder's files, if the manifest is still the one that the run began with. Neither
Beam nor DuckDB is imported here, and Google's client only for ``gs://``.
"""

from __future__ import annotations

import datetime

from beam_jobs.checks.audit_report import AuditReport
from beam_jobs.engine.run_report import RunReport
from beam_jobs.errors import InputError, TallyflowError, UsageError
from beam_jobs.filesystems import join_path
from beam_jobs.publishing import manifest as manifests
from beam_jobs.publishing.conditional_files import ChangedMeanwhileError, Store, open_store
from beam_jobs.publishing.manifest import Begun, Contents, Manifest, PublishedAggregate, Version
from beam_jobs.publishing.partition_folder import RUNS, Found, PartitionFolder, read_manifest
from beam_jobs.publishing.stored_documents import find_document

REPORT = "report.json"
REJECTS = "rejects.jsonl"
AUDIT = "audit.json"
_BEGUN = "run.json"


class RefusedError(TallyflowError):
    """A run is not published, as the partition has changed since it began; or nothing restored."""


def begin(folder: PartitionFolder, run_id: str) -> Begun:
    """Begin a run: remember which version it may replace. Call it before files are listed.

    What an earlier attempt of the same run left in its folder is deleted.

    Raises:
        UsageError: The run is published already.
    """
    run = folder.run(run_id)
    store = open_store(folder.path)
    found = read_manifest(folder)
    version = found and found.manifest.of_run(run_id)
    if found and version:
        raise UsageError(
            f"{folder}: run {run_id} is published as version {version.number} already, and its "
            "files are not written again; give the new run another --run_id"
        )
    _delete(store, run_id)
    begun = Begun(
        dataset=folder.dataset,
        partition=folder.partition.key,
        run_id=run_id,
        began=datetime.datetime.now(datetime.UTC),
        base=found.manifest.newest if found else 0,
    )
    open_store(run).write(_BEGUN, begun.to_json().encode())
    return begun


def publish(
    folder: PartitionFolder, run_id: str, keep_versions: int, contents: Contents | None = None
) -> Version:
    """Make the results of a run those of the partition, in one step for whoever reads them.

    Afterwards the files of versions that are not kept any more are deleted, and those of other
    runs that ended without being published. A second call for the same run changes nothing.

    Args:
        folder: Of the partition.
        run_id: Of the run, begun by `begin`, with all its files written.
        keep_versions: How many versions are kept, the new one among them.
        contents: What is published; None for what the run's report says.

    Raises:
        RefusedError: Another run was published since this one began; or there is no such run.
        InputError: The run or its audit failed, or a file of it is missing.
    """
    store = open_store(folder.path)
    folder.run(run_id)
    while True:
        found = read_manifest(folder)
        version = found and found.manifest.of_run(run_id)
        if found and version:
            _sweep(folder, found.manifest)
            return version
        check_base(folder, run_id, found)
        try:
            version = _next_version(store, folder, run_id, found, contents)
        except InputError:
            # Who was published meanwhile has swept up this run's files: say that, then.
            check_base(folder, run_id, read_manifest(folder))
            raise
        manifest = _with(folder, found, version, keep_versions)
        try:
            store.replace(
                manifests.FILE_NAME, manifest.to_json().encode(), found.token if found else None
            )
        except ChangedMeanwhileError:
            continue
        _sweep(folder, manifest)
        return version


def check_base(folder: PartitionFolder, run_id: str, found: Found | None) -> None:
    """Refuse a run that began with another version than the newest one.

    Args:
        folder: Of the partition.
        run_id: Of the run.
        found: The manifest; None if nothing is published.

    Raises:
        RefusedError: Another run was published since this one began; or there is no such run.
    """
    begun = _begun(folder, run_id)
    newest = found.manifest.newest if found else 0
    published = "and its manifest deleted"
    if found:
        other = max(found.manifest.versions, key=lambda one: one.number)
        published = (
            f"version {newest} by run {other.run_id} on {other.published:%Y-%m-%d %H:%M} UTC"
        )
    if begun is None:
        since = f"; the partition's newest is {published}" if found else ""
        raise RefusedError(
            f"{folder}: there is no run {run_id} to publish: it was never begun, was discarded, or "
            f"another was published in its place{since}"
        )
    if begun.base != newest:
        raise RefusedError(
            f"{folder}: was published while run {run_id} worked ({published}); nothing was "
            "published, run it again"
        )


def _begun(folder: PartitionFolder, run_id: str) -> Begun | None:
    return find_document(Begun, folder.path, f"{RUNS}/{run_id}/{_BEGUN}")


def _next_version(
    store: Store,
    folder: PartitionFolder,
    run_id: str,
    found: Found | None,
    contents: Contents | None,
) -> Version:
    """Return the version that a run is to become; all its files are there."""
    _check_audit(folder, run_id)
    contents = contents or _reported(folder, run_id)
    there = set(store.find(f"{RUNS}/{run_id}"))
    missing = [path for path in contents.files if path not in there]
    if missing:
        raise InputError(
            f"{folder}: run {run_id} has not written {missing[0]}; nothing was published, run it "
            "again"
        )
    return Version(
        **dict(contents),
        number=(found.manifest.newest if found else 0) + 1,
        run_id=run_id,
        published=datetime.datetime.now(datetime.UTC),
    )


def _check_audit(folder: PartitionFolder, run_id: str) -> None:
    """Refuse a run that was audited and found wrong: nobody publishes it by mistake.

    Raises:
        InputError: Its audit says so, or cannot be read.
    """
    path = f"{RUNS}/{run_id}/{AUDIT}"
    report = find_document(AuditReport, folder.path, path)
    if report and not report.passed:
        raise InputError(
            f"{folder}: run {run_id} failed its audit, as {join_path(folder.path, path)} says; "
            "nothing was published: change the checks and audit it again, or discard it"
        )


def _with(
    folder: PartitionFolder, found: Found | None, version: Version, keep_versions: int
) -> Manifest:
    if found:
        return found.manifest.followed_by(version, keep_versions)
    return Manifest(
        dataset=folder.dataset,
        partition=folder.partition.key,
        current=version.number,
        versions=(version,),
    )


def report_of(folder: PartitionFolder, run_id: str) -> RunReport:
    """Return the report of a run that is complete.

    Raises:
        InputError: The run was refused, or has not ended.
    """
    report = find_document(RunReport, folder.path, f"{RUNS}/{run_id}/{REPORT}")
    if report is None:
        raise InputError(f"{folder}: run {run_id} has no report: it is not complete; run it again")
    if report.problem:
        raise InputError(f"{folder}: run {run_id} failed: {report.problem}")
    return report


def _reported(folder: PartitionFolder, run_id: str) -> Contents:
    """Return what the report of a run says that there is to publish."""
    report = report_of(folder, run_id)
    return Contents(
        rows=report.rows,
        aggregates={
            one.name: PublishedAggregate(
                result=_relative(str(one.result), run_id),
                rows=one.rows,
                states=tuple(_relative(path, run_id) for path in one.states),
                fingerprint=one.fingerprint,
            )
            for one in report.aggregates
        },
        report=f"{RUNS}/{run_id}/{REPORT}",
    )


def _relative(path: str, run_id: str) -> str:
    """Return a path within a run's folder as one from the partition's folder on."""
    mark = f"{RUNS}/{run_id}/"
    return mark + path.rpartition(mark)[2]


def _sweep(folder: PartitionFolder, manifest: Manifest) -> None:
    """Delete the folders of runs that are not published any more, or never will be."""
    store = open_store(folder.path)
    runs: dict[str, set[str]] = {}
    for path in store.find(RUNS):
        _, run_id, name = path.split("/", 2)
        runs.setdefault(run_id, set()).add(name)
    kept = {version.run_id for version in manifest.versions}
    for run_id, names in runs.items():
        # A run that has not ended may still write: it is discarded by whoever started it.
        if run_id in kept or (_BEGUN in names and REPORT not in names):
            continue
        begun = _begun(folder, run_id)
        if begun is None or begun.base < manifest.newest:
            _delete(store, run_id)


def _delete(store: Store, run_id: str) -> None:
    # From then on there is no such run, should the rest be interrupted.
    store.delete(f"{RUNS}/{run_id}", first=f"{RUNS}/{run_id}/{_BEGUN}")


def restore(folder: PartitionFolder, number: int | None = None) -> Version:
    """Make a kept version the one that readers see, in one step.

    Args:
        folder: Of the partition.
        number: Of the version; None for the newest of those before the current one.

    Raises:
        UsageError: Nothing is published, or the version is not kept.
    """
    store = open_store(folder.path)
    while True:
        found = read_manifest(folder)
        if found is None:
            raise UsageError(f"{folder}: is not published, so there is no version to restore")
        manifest = found.manifest
        version = _kept(folder, manifest, number)
        manifest = manifest.model_copy(update={"current": version.number})
        try:
            store.replace(manifests.FILE_NAME, manifest.to_json().encode(), found.token)
        except ChangedMeanwhileError:
            if number is None:
                raise RefusedError(
                    f"{folder}: was published or restored just now; look, and restore again"
                ) from None
            continue
        return version


def _kept(folder: PartitionFolder, manifest: Manifest, number: int | None) -> Version:
    """Return the version to restore."""
    kept = {one.number: one for one in manifest.versions}
    if number is None:
        number = max((one for one in kept if one < manifest.current), default=None)
        if number is None:
            raise UsageError(f"{folder}: no version before {manifest.current} is kept")
    if number not in kept:
        raise UsageError(
            f"{folder}: version {number} is not kept; there are {', '.join(map(str, sorted(kept)))}"
        )
    return kept[number]


def discard(folder: PartitionFolder, run_id: str) -> bool:
    """Delete what a run wrote, unless it is published. Not for a run that is being published.

    Returns:
        Whether it is gone: False if it is published, as one of the versions that are kept.
    """
    folder.run(run_id)
    found = read_manifest(folder)
    if found and found.manifest.of_run(run_id):
        return False
    _delete(open_store(folder.path), run_id)
    return True
