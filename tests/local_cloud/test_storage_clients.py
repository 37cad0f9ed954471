from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, cast

import aiohttp
import pyarrow.fs
import pytest
from gcloud.aio.storage import Storage
from google.cloud.storage import transfer_manager
from obstore.exceptions import AlreadyExistsError, PreconditionError

from tests.local_cloud.storage_clients import (
    arrow_client,
    beam_client,
    gcsfs_client,
    obstore_client,
)
from tests.local_cloud.storage_server import PROJECT, StorageServer, bucket, client, server

__all__ = ["bucket", "client", "server"]

MIB = 1024 * 1024


class TestTransferManager:
    def test_a_file_goes_up_in_parts_and_down_in_slices(self, bucket: Any, tmp_path: Path) -> None:
        data = os.urandom(11 * MIB)
        (tmp_path / "up").write_bytes(data)
        blob = bucket.blob("a b/c?")
        transfer_manager.upload_chunks_concurrently(
            str(tmp_path / "up"), blob, chunk_size=5 * MIB, worker_type="thread"
        )
        transfer_manager.download_chunks_concurrently(
            blob, str(tmp_path / "down"), chunk_size=3 * MIB, worker_type="thread"
        )
        assert (tmp_path / "down").read_bytes() == data

    def test_many_files_go_up_and_down(self, bucket: Any, tmp_path: Path) -> None:
        names = [f"{number}.txt" for number in range(20)]
        for name in names:
            (tmp_path / name).write_text(name)
        results = transfer_manager.upload_many_from_filenames(
            bucket, names, source_directory=str(tmp_path), worker_type="thread", skip_if_exists=True
        )
        assert results == [None] * 20
        target = tmp_path / "down"
        target.mkdir()
        transfer_manager.download_many_to_path(
            bucket, names, destination_directory=str(target), worker_type="thread"
        )
        assert sorted(path.read_text() for path in target.iterdir()) == sorted(names)


class TestGcsfs:
    @pytest.fixture
    def fs(self, server: StorageServer) -> Any:
        return gcsfs_client(server)

    def test_pipe_cat_info_and_exists(self, fs: Any, bucket: Any) -> None:
        path = f"{bucket.name}/x/y ?#%é"
        fs.pipe(path, b"0123456789")
        assert fs.cat(path) == b"0123456789"
        assert fs.cat_file(path, start=2, end=5) == b"234"
        assert (fs.info(path)["size"], fs.info(path)["type"]) == (10, "file")
        assert fs.info(f"{bucket.name}/x")["type"] == "directory"
        assert (fs.exists(path), fs.exists(f"{bucket.name}/nope")) == (True, False)

    def test_ls_find_glob_and_du(self, fs: Any, bucket: Any) -> None:
        root = bucket.name
        fs.pipe({f"{root}/a/1": b"1", f"{root}/a/b/2": b"22", f"{root}/3": b"333"})
        assert fs.ls(root) == [f"{root}/3", f"{root}/a"]
        assert fs.find(root) == [f"{root}/3", f"{root}/a/1", f"{root}/a/b/2"]
        assert fs.glob(f"{root}/a/*") == [f"{root}/a/1", f"{root}/a/b"]
        assert fs.glob(f"{root}/**/2") == [f"{root}/a/b/2"]
        assert fs.du(root) == 6

    def test_put_and_get(self, fs: Any, bucket: Any, tmp_path: Path) -> None:
        data = os.urandom(6 * MIB)
        (tmp_path / "up").write_bytes(data)
        fs.put(str(tmp_path / "up"), f"{bucket.name}/up")
        fs.get(f"{bucket.name}/up", str(tmp_path / "down"))
        assert (tmp_path / "down").read_bytes() == data

    def test_files_are_written_in_chunks_and_read_at_offsets(self, fs: Any, bucket: Any) -> None:
        path = f"{bucket.name}/a"
        with fs.open(path, "wb", block_size=MIB) as file:
            for number in range(30):
                file.write(bytes([number]) * 100_000)
        with fs.open(path, "rb") as file:
            file.seek(2_899_999)
            assert file.read(2) == bytes([28, 29])

    def test_cp_mv_and_rm(self, fs: Any, bucket: Any) -> None:
        root = bucket.name
        fs.pipe({f"{root}/a/1": b"1", f"{root}/a/2": b"2"})
        fs.cp(f"{root}/a", f"{root}/b", recursive=True)
        fs.mv(f"{root}/b/1", f"{root}/c")
        fs.rm(f"{root}/a", recursive=True)
        assert fs.find(root) == [f"{root}/b/2", f"{root}/c"]

    def test_an_exclusive_write_fails_where_something_is(self, fs: Any, bucket: Any) -> None:
        fs.pipe_file(f"{bucket.name}/a", b"1", mode="create")
        with pytest.raises(FileExistsError):
            fs.pipe_file(f"{bucket.name}/a", b"2", mode="create")

    def test_buckets_are_made_and_removed(self, fs: Any, bucket: Any) -> None:
        fs.mkdir(f"{bucket.name}-2")
        fs.pipe(f"{bucket.name}-2/a", b"")
        fs.rm(f"{bucket.name}-2", recursive=True)
        assert not fs.exists(f"{bucket.name}-2")


class TestPyarrow:
    @pytest.fixture
    def fs(self, server: StorageServer) -> Any:
        return arrow_client(server)

    def test_streams_and_files(self, fs: Any, bucket: Any) -> None:
        path = f"{bucket.name}/dir/x y?"
        with fs.open_output_stream(path, metadata={"Content-Type": "text/x"}) as stream:
            for _ in range(20):
                stream.write(b"0123456789" * 50_000)
        with fs.open_input_file(path) as file:
            assert file.size() == 10_000_000
            assert file.read_at(5, 9_999_995) == b"56789"
        with fs.open_input_stream(path) as stream:
            assert len(stream.read()) == 10_000_000

    def test_infos_and_selectors(self, fs: Any, bucket: Any) -> None:
        root = bucket.name
        for name in ("a", "d/b", "d/e/c"):
            with fs.open_output_stream(f"{root}/{name}") as stream:
                stream.write(b"12")
        info = fs.get_file_info([f"{root}/a", f"{root}/d", f"{root}/nope"])
        kinds = pyarrow.fs.FileType
        assert [one.type for one in info] == [kinds.File, kinds.Directory, kinds.NotFound]
        found = fs.get_file_info(pyarrow.fs.FileSelector(root, recursive=True))
        names = [one.path for one in found if one.type == kinds.File]
        assert sorted(names) == [f"{root}/a", f"{root}/d/b", f"{root}/d/e/c"]

    def test_copy_move_and_delete(self, fs: Any, bucket: Any) -> None:
        root = bucket.name
        with fs.open_output_stream(f"{root}/a") as stream:
            stream.write(b"12")
        fs.copy_file(f"{root}/a", f"{root}/b")
        fs.move(f"{root}/b", f"{root}/c")
        fs.create_dir(f"{root}/d/e")
        fs.delete_dir(f"{root}/d")
        fs.delete_file(f"{root}/a")
        assert [blob.name for blob in bucket.list_blobs()] == ["c"]


class TestObstore:
    @pytest.fixture
    def store(self, server: StorageServer, bucket: Any) -> Any:
        return obstore_client(server, bucket.name)

    def test_put_get_range_and_head(self, store: Any) -> None:
        put = store.put("x/y ?#%é", b"0123456789", attributes={"Content-Type": "text/x"})
        assert store.get("x/y ?#%é").bytes() == b"0123456789"
        assert bytes(store.get_range("x/y ?#%é", start=2, length=3)) == b"234"
        ranges = store.get_ranges("x/y ?#%é", starts=[0, 8], ends=[2, 10])
        assert [bytes(part) for part in ranges] == [b"01", b"89"]
        head = store.head("x/y ?#%é")
        assert (head["size"], head["e_tag"], head["version"]) == (10, put["e_tag"], put["version"])

    def test_a_large_put_is_an_upload_in_parts(self, store: Any, bucket: Any) -> None:
        data = os.urandom(12 * MIB)
        store.put("a", data, use_multipart=True, chunk_size=5 * MIB)
        assert store.get("a").bytes() == data
        assert bucket.get_blob("a").md5_hash is None

    def test_conditional_puts(self, store: Any) -> None:
        first = store.put("a", b"1", mode="create")
        with pytest.raises(AlreadyExistsError):
            store.put("a", b"2", mode="create")
        store.put("a", b"3", mode=first)
        with pytest.raises(PreconditionError):
            store.put("a", b"4", mode=first)
        assert store.get("a").bytes() == b"3"

    def test_lists_with_prefix_offset_and_delimiter(self, store: Any) -> None:
        for name in ("a/1", "a/2", "b", "c/3"):
            store.put(name, b"")
        assert [one["path"] for one in store.list("a").collect()] == ["a/1", "a/2"]
        assert [one["path"] for one in store.list(offset="a/1").collect()] == ["a/2", "b", "c/3"]
        folded = store.list_with_delimiter()
        assert folded["common_prefixes"] == ["a", "c"]
        assert [one["path"] for one in folded["objects"]] == ["b"]

    def test_copy_rename_and_delete(self, store: Any) -> None:
        store.put("a", b"1")
        store.copy("a", "b")
        with pytest.raises(AlreadyExistsError):
            store.copy("a", "b", overwrite=False)
        store.rename("b", "c")
        store.delete(["a"])
        assert [one["path"] for one in store.list().collect()] == ["c"]


class TestAio:
    """gcloud-aio-storage, which Airflow's triggers use."""

    def run(self, server: StorageServer, calls: Any) -> Any:
        async def session() -> Any:
            async with aiohttp.ClientSession() as session:
                # Its type is that of another library's session, unless this one is chosen.
                return await calls(Storage(session=cast("Any", session), api_root=server.url))

        return asyncio.run(session())

    def test_upload_download_and_metadata(self, server: StorageServer, bucket: Any) -> None:
        async def calls(storage: Storage) -> None:
            await storage.upload(bucket.name, "a b?", b"x" * 10, metadata={"metadata": {"k": "v"}})
            await storage.upload(bucket.name, "big", b"y" * MIB, force_resumable_upload=True)
            assert await storage.download(bucket.name, "a b?") == b"x" * 10
            assert await storage.download(bucket.name, "big") == b"y" * MIB
            await storage.patch_metadata(bucket.name, "a b?", {"contentType": "text/x"})
            found = await storage.download_metadata(bucket.name, "a b?")
            assert (found["metadata"], found["contentType"]) == ({"k": "v"}, "text/x")
            stream = await storage.download_stream(bucket.name, "big")
            assert await stream.read(3) == b"yyy"

        self.run(server, calls)

    def test_listings_copies_compositions_and_deletes(
        self, server: StorageServer, bucket: Any
    ) -> None:
        async def calls(storage: Storage) -> list[str]:
            for name in ("a", "b"):
                await storage.upload(bucket.name, name, name)
            await storage.copy(bucket.name, "a", bucket.name, new_name="c")
            await storage.compose(bucket.name, "ab", ["a", "b"])
            assert await storage.download(bucket.name, "ab") == b"ab"
            await storage.delete(bucket.name, "a")
            buckets = await storage.list_buckets(PROJECT)
            assert bucket.name in [one.name for one in buckets]
            assert not await storage.get_bucket(bucket.name).blob_exists("a")
            return await storage.get_bucket(bucket.name).list_blobs()

        assert self.run(server, calls) == ["ab", "b", "c"]


class TestBeam:
    def test_files_are_written_read_and_measured(self, server: StorageServer, bucket: Any) -> None:
        io, path = beam_client(server), f"gs://{bucket.name}/x/y é"
        with io.open(path, "w") as file:
            file.write(b"0123456789" * 100_000)
        with io.open(path) as file:
            file.seek(999_995)
            assert file.read() == b"56789"
        assert (io.exists(path), io.size(path)) == (True, 1_000_000)
        assert io.checksum(path) == bucket.get_blob("x/y é").crc32c
        assert [found[0] for found in io.list_files(f"gs://{bucket.name}/x")] == [path]

    def test_batches_tell_the_outcome_of_each(self, server: StorageServer, bucket: Any) -> None:
        io, root = beam_client(server), f"gs://{bucket.name}"
        for number in range(3):
            bucket.blob(f"{number}").upload_from_string("x")
        pairs = [(f"{root}/{number}", f"{root}/copy-{number}") for number in range(4)]
        outcomes = io.copy_batch(pairs)
        assert [status for _, _, status in outcomes] == [None, None, None, 404]
        assert {status for _, status in io.delete_batch([pair[0] for pair in pairs])} == {None}
        io.rename(f"{root}/copy-0", f"{root}/moved")
        names = [blob.name for blob in bucket.list_blobs()]
        assert names == ["copy-1", "copy-2", "moved"]

    def test_a_bucket_is_found_and_has_no_soft_delete(
        self, server: StorageServer, bucket: Any
    ) -> None:
        io = beam_client(server)
        assert io.get_bucket(bucket.name).name == bucket.name
        assert not io.is_soft_delete_enabled(f"gs://{bucket.name}/a")
