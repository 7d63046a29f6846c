"""Contents are kept once, whole, under their digest; what nobody refers to can be collected at any time."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING

import pytest

from batchyard.model.errors import StoreError
from batchyard.workflows.blobs import BlobMissing, BlobStore, TooLarge

if TYPE_CHECKING:
    from pathlib import Path


def put(store: BlobStore, data: bytes) -> str:
    with store.in_use():
        return store.put(data).digest


def put_file(store: BlobStore, path: Path, most: int = 1000) -> str:
    fd = os.open(path, os.O_RDONLY)
    try:
        with store.in_use():
            return store.put_file(fd, most).digest
    finally:
        os.close(fd)


def test_a_content_is_found_by_its_sha_256(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "objects")

    digest = put(store, b"one")

    assert digest == hashlib.sha256(b"one").hexdigest()
    assert store.place(digest) == tmp_path / "objects" / digest[:2] / digest[2:]
    assert store.read(digest) == b"one"


def test_the_same_content_is_kept_once(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "objects")
    (tmp_path / "file").write_bytes(b"one")

    digests = {put(store, b"one"), put(store, b"one"), put_file(store, tmp_path / "file")}

    assert set(store.digests()) == digests == {hashlib.sha256(b"one").hexdigest()}


def test_too_large_a_file_leaves_nothing(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "objects")
    (tmp_path / "file").write_bytes(b"x" * 11)

    with pytest.raises(TooLarge):
        put_file(store, tmp_path / "file", most=10)

    assert [path.name for path in (tmp_path / "objects").rglob("*") if path.is_file()] == ["lock"]


@pytest.mark.parametrize("content", [b"two", b"one, longer", b""])
def test_a_damaged_content_is_never_read(tmp_path: Path, content: bytes) -> None:
    store = BlobStore(tmp_path / "objects")
    digest = put(store, b"one")
    store.place(digest).chmod(0o600)
    store.place(digest).write_bytes(content)

    with pytest.raises(BlobMissing, match="damaged"):
        store.read(digest)


def test_a_cut_off_content_is_put_anew(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "objects")
    digest = put(store, b"one")
    os.truncate(store.place(digest), 1)

    put(store, b"one")

    assert store.read(digest) == b"one"


def test_collecting_leaves_what_is_referred_to(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "objects")
    kept, gone = put(store, b"kept"), put(store, b"gone")
    (tmp_path / "objects" / "new" / "half").write_bytes(b"by a process that was killed")

    collected = store.collect(lambda: {kept})

    assert [blob.digest for blob in collected] == [gone]
    assert list(store.digests()) == [kept]
    assert not list((tmp_path / "objects" / "new").iterdir())


def test_collecting_waits_for_what_is_about_to_be_referred_to(tmp_path: Path) -> None:
    store, referred = BlobStore(tmp_path / "objects"), set[str]()
    put(store, b"was here before")
    is_put, asked = threading.Event(), threading.Event()

    def keep() -> None:
        with store.in_use():
            digest = store.put(b"was here before").digest
            is_put.set()
            assert not asked.wait(0.2)
            referred.add(digest)

    keeping = threading.Thread(target=keep)
    keeping.start()
    assert is_put.wait(10)

    def refers() -> set[str]:
        asked.set()
        return referred

    collected = store.collect(refers)
    keeping.join()

    assert collected == ()
    assert set(store.digests()) == referred


def test_collecting_gives_up_if_it_is_never_alone(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "objects")
    digest = put(store, b"one")

    with store.in_use(), pytest.raises(StoreError, match="are being written to"):
        store.collect(set, patience_seconds=0.1)

    assert list(store.digests()) == [digest]


def test_nothing_is_collected_if_who_refers_to_what_is_not_known(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "objects")
    digest = put(store, b"one")

    def unknown() -> set[str]:
        raise StoreError("a checkpoint file is damaged")

    with pytest.raises(StoreError):
        store.collect(unknown)

    assert list(store.digests()) == [digest]
