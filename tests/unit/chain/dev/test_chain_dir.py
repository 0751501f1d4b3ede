from __future__ import annotations

import os

import pytest

from chain.dev.chain_dir import ChainDir
from storage.errors import HomeInUseError, StorageError


def test_one_process_owns_a_chain_and_the_second_is_told_which(tmp_path):
    with ChainDir(tmp_path / "a").held():
        with pytest.raises(HomeInUseError, match=rf"process {os.getpid()}"), ChainDir(tmp_path / "a").held():
            pass
        with ChainDir(tmp_path / "b").held():
            pass
    with ChainDir(tmp_path / "a").held():
        assert (tmp_path / "a").stat().st_mode & 0o077 == 0


def test_erasing_takes_the_chain_and_nothing_else(tmp_path):
    folder = ChainDir(tmp_path)
    mine = [tmp_path / name for name in ("chain.sqlite", "chain.sqlite-wal", "chain.sqlite-shm")]
    for path in [*mine, tmp_path / "letter.txt"]:
        path.write_text("x")
    with folder.held():
        folder.erase()
        folder.erase()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chain.lock", "letter.txt"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="--dir"), ChainDir(tmp_path / "file" / "chain").held():
        pass
