"""Files are found, read to their end and replaced in one step, or one line says why not."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import apache_beam.io.localfilesystem
import pytest
import zstandard
from apache_beam.io.filesystem import BeamIOError, FileMetadata
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs import files, filesystems, output_files
from beam_jobs.errors import InputError, TallyflowError, UsageError
from beam_jobs.formats.decompress import decompressed

_zstd = zstandard.ZstdCompressor(write_checksum=True).compress
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": _zstd,
}
_ODD_NAMES = [
    "with space.csv",
    "a#b.csv",
    "what?.csv",
    "100%.csv",
    "a[1].csv",
    "star*.csv",
    "it's.csv",
    'quo"te.csv',
    "new\nline.csv",
    "semi;colon.csv",
    "é.csv",
    "$HOME ~.csv",
]


def read(path: Path | str) -> bytes:
    with files.open_input(files.InputFile(str(path), 0)) as stream:
        return stream.read()


# Matching.


def test_files_are_matched_in_order_without_folders_and_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", ".hidden.csv"):
        (tmp_path / name).write_bytes(b"xyz")
    (tmp_path / "folder.csv").mkdir()
    found = files.match_files(f"{tmp_path}/*.csv")
    assert found == [files.InputFile(f"{tmp_path}/{name}.csv", 3) for name in "ab"]


def test_a_pattern_may_stand_for_folders(tmp_path: Path) -> None:
    for name in ("date=1/x/f.csv", "date=2/f.csv", ".tmp/f.csv"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert [f.path for f in files.match_files(f"{tmp_path}/date=*/f.csv")] == [
        f"{tmp_path}/date=2/f.csv"
    ]
    assert len(files.match_files(f"{tmp_path}/**/*.csv")) == 2


@pytest.mark.parametrize("name", _ODD_NAMES)
def test_a_file_is_found_and_read_by_its_name_however_odd(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"right")
    (tmp_path / "a1.csv").write_bytes(b"wrong")  # which the pattern a[1].csv would match
    (found,) = files.match_files(str(tmp_path / name))
    assert found.path == str(tmp_path / name)
    assert read(found.path) == b"right"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({name, "a1.csv"})


@pytest.mark.parametrize("pattern", ["{}", "{}/"])
def test_a_folder_is_refused_with_the_pattern_to_use(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(UsageError, match=r"is a folder; name its files: .*/\*\.csv"):
        files.match_files(pattern.format(tmp_path))


@pytest.mark.parametrize("pattern", ["missing/f.csv", "missing/*.csv", "*.csv", "**/*.csv"])
def test_nothing_matches_in_a_folder_that_is_empty_or_missing(tmp_path: Path, pattern: str) -> None:
    assert files.match_files(f"{tmp_path}/{pattern}") == []


def test_a_link_that_leads_nowhere_is_an_error_and_not_skipped(tmp_path: Path) -> None:
    (tmp_path / "f.csv").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"f\.csv: cannot be read: No such file"):
        files.match_files(f"{tmp_path}/*.csv")


def test_a_pipe_is_no_input(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f.csv")
    with pytest.raises(InputError, match=r"f\.csv: is not a regular file"):
        files.match_files(f"{tmp_path}/*.csv")


def test_a_name_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.csv")).touch()
    message = r"^'.*/\\udcff\.csv': the file's name is not UTF-8; rename it$"
    with pytest.raises(InputError, match=message):
        files.match_files(f"{tmp_path}/*.csv")


@pytest.fixture
def not_root() -> Iterator[None]:
    """Be nobody, for what is not allowed to root is not tested by it."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.usefixtures("not_root")
def test_an_unreadable_file_is_an_error_that_names_it() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.csv"
        path.touch(mode=0)
        with pytest.raises(InputError, match=r"f\.csv: cannot be read: Permission denied"):
            read(path)


@pytest.mark.usefixtures("not_root")
def test_a_folder_that_cannot_be_listed_is_an_error_and_not_empty() -> None:
    with tempfile.TemporaryDirectory() as folder:
        locked = Path(folder) / "date=2"
        locked.mkdir()
        (locked / "f.csv").touch()
        locked.chmod(0)
        with pytest.raises(InputError, match=r"date=2: cannot be listed: Permission denied"):
            files.match_files(f"{folder}/date=*/*.csv")
        locked.chmod(0o700)


# Reading.


@pytest.mark.parametrize("ending", COMPRESSORS)
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_compressed_files_of_any_number_of_streams_are_read(
    tmp_path: Path, ending: str, case: Callable[[str], str]
) -> None:
    compress = COMPRESSORS[ending]
    path = tmp_path / case(f"f.csv{ending}")
    parts = [os.urandom(200_000), b"", b"x" * 500_000, *[b"line\n"] * 300]
    path.write_bytes(b"".join(compress(part) for part in parts))
    assert read(path) == b"".join(parts)
    path.write_bytes(compress(b""))
    assert read(path) == b""


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_padding_after_compressed_data_is_ignored(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"f{ending}"
    path.write_bytes(COMPRESSORS[ending](b"data") + bytes(200_000))
    assert read(path) == b"data"


@pytest.mark.parametrize("ending", COMPRESSORS)
@given(st.data())
@settings(deadline=None)
def test_a_file_cut_anywhere_but_between_streams_is_truncated(
    ending: str, data: st.DataObject
) -> None:
    one = COMPRESSORS[ending](b"one\n" * 100)
    whole = one + COMPRESSORS[ending](b"two\n" * 100)
    cut = data.draw(st.integers(0, len(whole) - 1))
    stream = decompressed(io.BytesIO(whole[:cut]), ending)
    if cut == len(one):
        assert stream.read() == b"one\n" * 100
    else:
        with pytest.raises(EOFError):
            stream.read()


@pytest.mark.parametrize("ending", COMPRESSORS)
@pytest.mark.parametrize("damage", ["truncated", "changed", "second stream", "garbage", "empty"])
def test_broken_compressed_data_is_an_error_that_names_the_file(
    tmp_path: Path, ending: str, damage: str
) -> None:
    whole = COMPRESSORS[ending](os.urandom(100_000))
    broken = {
        "truncated": whole[:-5],
        "changed": whole[:50_000] + bytes(64) + whole[50_064:],
        "second stream": whole + b"X" + whole[1:],
        "garbage": whole + b"garbage",
        "empty": b"",
    }[damage]
    path = tmp_path / f"f.csv{ending}"
    path.write_bytes(broken)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: cannot be read: ")
    assert "\n" not in str(caught.value)
    if damage in ("truncated", "empty"):
        assert str(caught.value).endswith("the compressed data ends too early; is it truncated?")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("ending", "content", "message"),
    [
        (".gz", _zstd(b"a"), "is no gzip data but Zstandard data; let its name end in .zst"),
        (
            ".zst",
            gzip.compress(b"a", mtime=0),
            "is no Zstandard data but gzip data; let its name end in .gz",
        ),
        (
            ".bz2",
            gzip.compress(b"a", mtime=0),
            "is no bzip2 data but gzip data; let its name end in .gz",
        ),
        (".gz", b"a,b\n1,2\n", "is no gzip data; take the ending off its name"),
        (".gz", b"PAR1\x15\x04", "is no gzip data but a Parquet file; rename it to .parquet, or "),
    ],
)
def test_data_that_is_not_compressed_as_its_name_says_is_an_error_that_says_as_what(
    tmp_path: Path, ending: str, content: bytes, message: str
) -> None:
    path = tmp_path / f"f.csv{ending}"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: cannot be read: {message}")


def test_a_frame_that_holds_no_data_may_be_the_first_of_zstandard(tmp_path: Path) -> None:
    path = tmp_path / "f.csv.zst"
    path.write_bytes(b"\x50\x2a\x4d\x18\x03\0\0\0abc" + _zstd(b"a,b\n"))
    assert read(path) == b"a,b\n"


def test_a_folder_in_the_place_of_a_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "f.csv").mkdir()
    with pytest.raises(InputError, match=r"f\.csv: cannot be read: Is a directory$"):
        read(tmp_path / "f.csv")


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv: cannot be read: No such file"):
        read(tmp_path / "gone.csv")


@pytest.mark.parametrize(
    ("path", "ending"),
    [
        ("f.csv", ".csv"),
        ("a/F.CSV.GZ", ".csv"),
        ("gs://b/f.tsv.zst", ".tsv"),
        ("f.gz", ""),
        ("f", ""),
    ],
)
def test_the_ending_of_the_content_is_before_that_of_the_compression(
    path: str, ending: str
) -> None:
    assert files.content_ending(path) == ending


# Writing.


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "deep" / "er" / "result.csv"
    for content in (b"old", b"new"):
        source.write_bytes(content)
        output_files.write_file(str(source), str(target))
        assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == ["result.csv"]


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_a_written_file_has_the_mode_that_umask_says(tmp_path: Path, mask: int) -> None:
    (tmp_path / "source").touch()
    before = os.umask(mask)
    try:
        output_files.write_file(str(tmp_path / "source"), str(tmp_path / "result"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "result").stat().st_mode) == 0o666 & ~mask


def test_a_reader_never_sees_a_part_of_a_file(tmp_path: Path) -> None:
    contents = [bytes([number]) * 3_000_000 for number in (1, 2)]
    target = tmp_path / "result"
    target.write_bytes(contents[0])
    seen: list[bytes] = []
    done = threading.Event()

    def read_on() -> None:
        while not done.is_set():
            seen.append(target.read_bytes())

    reader = threading.Thread(target=read_on)
    reader.start()
    for number in range(20):
        (tmp_path / "source").write_bytes(contents[number % 2])
        output_files.write_file(str(tmp_path / "source"), str(target))
    done.set()
    reader.join()
    assert seen
    assert all(content in contents for content in seen)


def test_a_crash_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").write_bytes(b"new")
    (tmp_path / "result").write_bytes(b"old")

    def crash(source: IO[bytes], target: IO[bytes], _: int) -> None:
        target.write(source.read(1))
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfileobj", crash)
    with pytest.raises(KeyboardInterrupt):
        output_files.write_file(str(tmp_path / "source"), str(tmp_path / "result"))
    assert (tmp_path / "result").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result", "source"]


@pytest.mark.parametrize("name", ["file/result", "folder", "file/deep/result"])
def test_an_unwritable_destination_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "source").touch()
    with pytest.raises(TallyflowError, match=f"{name}: cannot be written: .* directory"):
        output_files.write_file(str(tmp_path / "source"), str(tmp_path / name))


def test_a_staged_file_moves_once_and_a_second_call_is_no_error(tmp_path: Path) -> None:
    staged, target = tmp_path / ".staged", tmp_path / "result"
    staged.write_bytes(b"new")
    target.write_bytes(b"old")
    for _ in range(2):
        output_files.move_file(str(staged), str(target))
        assert target.read_bytes() == b"new"
    assert not staged.exists()


def test_a_staged_file_that_is_lost_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TallyflowError, match="result: cannot be written: No such file"):
        output_files.move_file(str(tmp_path / ".staged"), str(tmp_path / "result"))


def test_a_deleted_file_is_gone_and_may_have_been(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    for _ in range(2):
        output_files.delete_file(str(tmp_path / "f"))
    assert not (tmp_path / "f").exists()
    (tmp_path / "folder").mkdir()
    with pytest.raises(TallyflowError, match="folder: cannot be deleted"):
        output_files.delete_file(str(tmp_path / "folder"))


# Filesystems of Beam's.


class FolderFileSystem(apache_beam.io.localfilesystem.LocalFileSystem):  # type: ignore[misc]
    """A filesystem that Beam finds by its scheme, as it does ``gs://``: a folder is the bucket."""

    root = ""

    @classmethod
    def scheme(cls) -> str:
        """Return what stands before ``://``."""
        return "folder"

    def _local(self, path: str) -> str:
        return self.root + path.removeprefix("folder://bucket")

    def _remote(self, path: str) -> str:
        return "folder://bucket" + path.removeprefix(self.root)

    def has_dirs(self) -> bool:
        """Objects have names with slashes in them, and there are no folders."""
        return False

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        for path in Path(self.root).rglob("*"):
            remote = self._remote(str(path))
            if path.is_file() and remote.startswith(dir_or_prefix):
                yield self.metadata(remote)

    def metadata(self, path: str) -> FileMetadata:
        """Return the size of an object."""
        return FileMetadata(path, Path(self._local(path)).stat().st_size)

    def open(self, path: str, *arguments: object, **options: object) -> object:
        """Open an object for reading."""
        return super().open(self._local(path), *arguments, **options)

    def create(self, path: str, *arguments: object, **options: object) -> object:
        """Create an object."""
        Path(self._local(path)).parent.mkdir(parents=True, exist_ok=True)
        return super().create(self._local(path), *arguments, **options)

    def rename(self, source: list[str], target: list[str]) -> object:
        """Rename objects."""
        return super().rename([self._local(s) for s in source], [self._local(t) for t in target])

    def exists(self, path: str) -> bool:
        """Whether an object is there."""
        return bool(super().exists(self._local(path)))

    def delete(self, paths: list[str]) -> None:
        """Delete objects."""
        for path in paths:
            Path(self._local(path)).unlink()


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(FolderFileSystem, "root", str(tmp_path))
    return tmp_path


def test_remote_files_are_matched_without_hidden_ones_and_read(bucket: Path) -> None:
    (bucket / "date=1").mkdir()
    (bucket / "date=1" / "f.csv").write_bytes(b"plain")
    (bucket / "date=1" / ".f.csv").touch()
    (bucket / "date=1" / "g.csv").write_bytes(b"more")
    (bucket / "date=1" / ".staged").mkdir()
    (bucket / "date=1" / ".staged" / "h.csv").touch()
    found = files.match_files("folder://bucket/date=1/*.csv")
    assert found == [
        files.InputFile("folder://bucket/date=1/f.csv", 5),
        files.InputFile("folder://bucket/date=1/g.csv", 4),
    ]
    assert read(found[0].path) == b"plain"
    assert read(found[1].path) == b"more"
    assert files.match_files("folder://bucket/date=*/**.csv") == found
    assert files.match_files("folder://bucket/none/*.csv") == []


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_remote_compressed_files_are_read_and_broken_ones_named(bucket: Path, ending: str) -> None:
    whole = COMPRESSORS[ending](b"a,b\n" * 1000)
    (bucket / f"f.csv{ending}").write_bytes(whole)
    assert read(f"folder://bucket/f.csv{ending}") == b"a,b\n" * 1000
    (bucket / f"f.csv{ending}").write_bytes(whole[:-3])
    with pytest.raises(InputError, match=f"^folder://bucket/f.csv{ending}: cannot be read: "):
        read(f"folder://bucket/f.csv{ending}")


def test_remote_files_are_written_moved_and_deleted(bucket: Path) -> None:
    (bucket / "source").write_bytes(b"new")
    output_files.write_file(str(bucket / "source"), "folder://bucket/out/.staged")
    for _ in range(2):
        output_files.move_file("folder://bucket/out/.staged", "folder://bucket/out/result")
    assert read("folder://bucket/out/result") == b"new"
    for _ in range(2):
        output_files.delete_file("folder://bucket/out/result")
    assert list((bucket / "out").iterdir()) == []
    with pytest.raises(TallyflowError, match=r"result: cannot be written: .*staged is gone"):
        output_files.move_file("folder://bucket/out/.staged", "folder://bucket/out/result")


def test_a_remote_file_that_is_missing_is_an_error_that_names_it(bucket: Path) -> None:
    del bucket
    with pytest.raises(InputError, match=r"^folder://bucket/gone\.csv: cannot be read: ") as caught:
        read("folder://bucket/gone.csv")
    assert "\n" not in str(caught.value)


def test_a_scheme_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UsageError, match="no filesystem for nosuch:// is installed"):
        files.match_files("nosuch://bucket/*.csv")


def test_a_name_is_joined_to_a_folder_with_one_slash() -> None:
    assert filesystems.join_path("gs://bucket/out/", "f") == filesystems.join_path(
        "gs://bucket/out", "f"
    )


def test_the_reason_is_the_innermost_of_the_errors_that_beam_wraps() -> None:
    inner = BeamIOError("List failed", {"gs://b/x": FileNotFoundError(2, "No such bucket")})
    outer = BeamIOError("Match failed", {"gs://b/x*": inner})
    with (
        pytest.raises(InputError) as caught,
        filesystems.failing("gs://b/x*", "cannot be listed", InputError),
    ):
        raise outer
    assert str(caught.value) == "gs://b/x*: cannot be listed: No such bucket"


def test_the_compression_that_is_said_goes_before_the_ending(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(b"a"))
    (tmp_path / "b.gz").write_bytes(b"b")
    (packed,) = files.match_files(str(tmp_path / "a"), "gzip")
    (plain,) = files.match_files(str(tmp_path / "b.gz"), "none")
    assert (packed.is_compressed, plain.is_compressed) == (True, False)
    with files.open_input(packed) as stream:
        assert stream.read() == b"a"
    with files.open_input(plain) as stream:
        assert stream.read() == b"b"


def test_a_file_is_found_once_however_a_pattern_leads_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "x" / "x" / "y"
    folder.mkdir(parents=True)
    (folder / "1.csv").write_text("n\n1\n")
    (folder / "loop").symlink_to(tmp_path / "x")
    for pattern in ("**/x/**/*.csv", "x/**/**/*.csv", "**/*.csv"):
        found = files.match_files(f"{tmp_path}/{pattern}")
        assert [file.path for file in found] == [str(folder / "1.csv")]
