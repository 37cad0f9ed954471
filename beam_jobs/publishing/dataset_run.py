"""A run of a dataset: begun, and published if all went well."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.engine.launch import file_read
from beam_jobs.engine.run_report import Changes, FileChange, RunReport
from beam_jobs.engine.task import Asked, Task
from beam_jobs.errors import InputError
from beam_jobs.files import InputFile
from beam_jobs.filesystems import join_path
from beam_jobs.publishing.conditional_files import open_store
from beam_jobs.publishing.partition_folder import PartitionFolder, read_manifest
from beam_jobs.publishing.partition_store import (
    REJECTS,
    REPORT,
    begin,
    check_base,
    discard,
    publish,
)
from beam_jobs.publishing.stored_documents import read_document

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetRun:
    """A run of a dataset.

    Attributes:
        dataset: The dataset.
        folder: Of the partition.
        run_id: Of the run.
        pattern: Of the files that stand in for the dataset's own; None for those.
    """

    dataset: Dataset
    folder: PartitionFolder
    run_id: str
    pattern: str | None = None

    def task(self, *, allow_empty: bool) -> Task:
        """What there is to do; all that is written goes into the run's folder.

        Args:
            allow_empty: Whether no file at all is an empty result, whatever the dataset says.
        """
        dataset, storage, run = self.dataset, self.folder.storage, self.folder.run(self.run_id)
        # A pattern that stands in for the dataset's own is mistyped where it matches nothing.
        may_be_empty = dataset.when_missing == "publish_empty" and self.pattern is None
        return Task(
            pattern=self.pattern
            or join_path(storage, dataset.input_pattern(self.folder.partition)),
            file_format=dataset.file_format,
            queries={
                name: Asked(
                    aggregate.query,
                    join_path(run, f"{name}.{dataset.output_format}"),
                    join_path(run, f"states/{name}.parquet"),
                )
                for name, aggregate in dataset.aggregates.items()
            },
            lookups={name: join_path(storage, path) for name, path in dataset.lookups.items()},
            rejects_path=join_path(run, REJECTS),
            report_path=join_path(run, REPORT),
            max_rejects=dataset.max_rejects,
            fails_on_drift=dataset.on_drift == "fail",
            has_profile=dataset.profile,
            allow_empty=allow_empty or may_be_empty,
            run_id=self.run_id,
            dataset=dataset.name,
            partition=self.folder.partition,
        )

    @contextlib.contextmanager
    def begun(self, *, is_local: bool) -> Iterator[None]:
        """Begin the run; if it fails without a report, nothing of it stays.

        Args:
            is_local: Whether the run ends with this process. Otherwise it goes on when this process
                is ended, and its folder stays.
        """
        begin(self.folder, self.run_id)
        try:
            yield
        except BaseException as error:
            if (is_local or isinstance(error, Exception)) and not self._has_report():
                discard(self.folder, self.run_id)
            raise

    def _has_report(self) -> bool:
        return open_store(self.folder.run(self.run_id)).read(REPORT) is not None

    def publish(self) -> None:
        """Audit the results and publish them, unless they are published already.

        Raises:
            AuditError: A check failed; the results stay where they are, for inspection.
            RefusedError: The partition was published while the run worked.
        """
        from beam_jobs.checks.audit import audit

        found = read_manifest(self.folder)
        if found is None or found.manifest.of_run(self.run_id) is None:
            check_base(self.folder, self.run_id, found)
            audit(self.dataset, self.folder.storage, self.folder.partition, self.run_id)
        version = publish(self.folder, self.run_id, self.dataset.keep_versions)
        _LOG.info(
            "published: version %d of %s, %s", version.number, self.folder, self.folder.manifest
        )

    def changes(self, pattern: str, files: Sequence[InputFile]) -> Changes | None:
        """Compare the files to read with those of what is published now.

        Args:
            pattern: Of the files to read.
            files: These.

        Returns:
            None if nothing is published, or what is does not say what was read.
        """
        found = read_manifest(self.folder)
        if found is None:
            return None
        version = found.manifest.version
        try:
            before = read_document(RunReport, self.folder.path, version.report)
        except InputError as error:
            _LOG.warning("files that came late or changed are not reported: %s", error)
            return None
        return self._compared(version.number, before, pattern, files)

    def _compared(
        self, number: int, before: RunReport, pattern: str, files: Sequence[InputFile]
    ) -> Changes:
        own = self.dataset.input_pattern(self.folder.partition)
        old = {_below(before.inputs.pattern, own, file.path): file for file in before.inputs.files}
        new = {_below(pattern, own, file.path): file_read(file) for file in files}
        changes = Changes(
            version=number,
            late=tuple(file for name, file in new.items() if name not in old),
            changed=tuple(
                FileChange(**dict(file), bytes_before=was.bytes, modified_before=was.modified)
                for name, file in new.items()
                if (was := old.get(name, file)).bytes != file.bytes or was.modified != file.modified
            ),
            gone=tuple(file for name, file in old.items() if name not in new),
        )
        for found, what in (
            (changes.late, "came late"),
            (changes.changed, "changed"),
            (changes.gone, "gone"),
        ):
            if found:
                _LOG.warning(
                    "since version %d: %d of the files %s, the first %s",
                    *(number, len(found), what, found[0].path),
                )
        return changes


def _below(pattern: str, own: str, path: str) -> str:
    """Return a file's path without the storage root, which may be written in several ways."""
    return path.removeprefix(pattern.removesuffix(own)) if pattern.endswith(own) else path
