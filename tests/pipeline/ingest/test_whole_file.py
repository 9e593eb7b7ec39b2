"""A file is there whole, or as it was before."""

from pathlib import Path

import pyarrow.fs as pafs
import pytest

from pipeline.ingest.whole_file import whole_file


def test_a_file_changes_in_one_step(tmp_path: Path) -> None:
    path, system = tmp_path / "a.json", pafs.LocalFileSystem()
    with whole_file(system, str(path)) as stream:
        stream.write(b"one")
        assert not path.exists()
    with whole_file(system, str(path)) as stream:
        stream.write(b"two")
        assert path.read_bytes() == b"one"
    assert path.read_bytes() == b"two"


def write_half(path: Path) -> None:
    with whole_file(pafs.LocalFileSystem(), str(path)) as stream:
        stream.write(b"half")
        raise KeyError


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path, system = tmp_path / "a.json", pafs.LocalFileSystem()
    path.write_bytes(b"one")
    with pytest.raises(KeyError):
        write_half(path)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("a.json", b"one")]
    with pytest.raises(OSError, match="none"), whole_file(system, str(tmp_path / "none" / "b.json")):
        pass
