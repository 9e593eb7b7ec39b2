"""A row of a Parquet file names documents under the command's own folders alone, however it names them."""

import os
from pathlib import Path

import pytest

from pipeline.config import FlowConfig
from pipeline.ingest import roots
from pipeline.ingest.listing import list_sources
from pipeline.ingest.reading import read_source
from pipeline.ingest.roots import check_first, find_roots, lies_under
from schemas.targets import Question
from tests.pipeline.ingest.listed import PDF, PNG, parquet, read_reason, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def test_the_roots_are_each_inputs_folder_or_bucket_and_what_is_allowed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(folder / "x.parquet")
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HOME", str(folder))
    at = str(folder)
    for given, root in {
        file: at,
        "in": at,
        "in/x.parquet": at,
        "in/*.parquet": at,
        "in/year=*/x.parquet": at,
        "~": at,
        folder.as_uri(): at,
        "s3://bucket/deep/x.parquet": "s3://bucket",
        "s3://bucket": "s3://bucket",
    }.items():
        assert find_roots([given], ()) == (root,), given
    assert find_roots(["/*.parquet"], ()) == ()  # a glob is not a wish to open the whole machine
    assert find_roots([file, "in"], [at, "s3://other/deep/"]) == (at, "s3://other/deep")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("nowhere", "--allow-root nowhere: there is no such folder"),
        ("x.parquet", "there is no such folder"),
        ("s3://", "names no bucket"),
        ("https://host/a", "give a folder, s3://bucket/prefix"),
    ],
)
def test_an_allowed_root_that_is_none_is_a_mistake(folder: Path, given: str, says: str) -> None:
    write(folder / "x.parquet")
    with pytest.raises(ValueError, match=says):
        find_roots([str(folder)], [given])


def test_an_allowed_root_needs_a_column() -> None:
    with pytest.raises(ValueError, match="--allow-root /data: it is for Parquet inputs"):
        FlowConfig(
            inputs=("a.pdf",),
            output="out",
            model="m",
            questions=(Question(text="?"),),
            allow_roots=("/data",),
        )


@pytest.mark.parametrize(
    ("location", "inside"),
    [
        ("{in}/a.pdf", True),
        ("{in}/deep/../a.pdf", True),
        ("{in}/gone/a.pdf", True),
        ("file://{in}/a.pdf", True),
        ("file://host{in}/a.pdf", True),
        ("{in}/link_inside", True),
        ("{in}", True),
        ("{in}x/a.pdf", False),
        ("{in}/../secret", False),
        ("file://{in}/%2e%2e/secret", False),
        ("file:///etc/passwd", False),
        ("/etc/passwd", False),
        ("/proc/self/environ", False),
        ("{in}/link_outside", False),
        ("{in}/linked_folder/secret", False),
        ("s3://bucket/a.pdf", True),
        ("s3://bucket/x/..a/b.pdf", True),
        ("s3://bucket/../other/a.pdf", False),
        ("s3://bucket/./a.pdf", False),
        ("s3://bucket2/a.pdf", False),
        ("s3://other/deep/a.pdf", True),
        ("s3://other/deeper/a.pdf", False),
        ("s3://other/a.pdf", False),
    ],
)
def test_a_location_is_compared_after_links_are_resolved(folder: Path, location: str, inside: bool) -> None:
    write(folder / "a.pdf")
    (folder / "link_inside").symlink_to("a.pdf")
    write(folder.parent / "secret")
    (folder / "link_outside").symlink_to("../secret")
    (folder / "linked_folder").symlink_to("..")
    found = (str(folder), "s3://bucket", "s3://other/deep")
    assert lies_under(location.replace("{in}", str(folder)), found) == inside


def test_a_root_may_itself_be_a_link(folder: Path) -> None:
    write(folder / "a.pdf")
    (folder.parent / "link").symlink_to(folder)
    assert lies_under(f"{folder}/a.pdf", (f"{folder.parent}/link",))
    assert lies_under(f"{folder.parent}/link/a.pdf", (str(folder),))


def test_the_first_uris_are_looked_at_before_the_run_and_later_ones_fail(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roots, "CHECKED", 3)
    write(folder / "a.pdf")
    secret = write(folder.parent / "secret.pdf")
    names = ["a.pdf", None, "data:,x", "ftp://host/x", "a\0b", "../secret.pdf"]
    path = parquet(folder / "x.parquet", row_group_size=2, where=names)
    sources = list_sources([path], column="where")
    found = find_roots([path], ())
    check_first(sources, found)  # of those that could be looked at, the fourth
    rows = sources.to_pylist()
    assert read_source(rows[0], found) == PDF
    assert [read_reason(row, found) for row in rows[3:]] == ["unreadable", "unreadable", "not_allowed"]
    assert read_source(rows[5], (*found, str(folder.parent))) == PDF

    monkeypatch.setattr(roots, "CHECKED", 4)
    with pytest.raises(ValueError, match=rf"a row of {path} names {folder}/../secret.pdf, .* --allow-root"):
        check_first(sources, found)
    check_first(sources, find_roots([path], [str(folder.parent)]))
    assert Path(secret).read_bytes() == PDF


def test_bytes_in_rows_and_listed_files_have_no_roots(folder: Path) -> None:
    path = parquet(folder / "x.parquet", page=[b"abc"])
    (row,) = list_sources([path], column="page").to_pylist()
    assert read_source(row, ()) == b"abc"
    write(folder.parent / "a.pdf")
    (folder / "link.pdf").symlink_to("../a.pdf")
    (row,) = list_sources([str(folder / "link.pdf")]).to_pylist()
    assert read_source(row, ()) == PDF
    check_first(list_sources([str(folder / "link.pdf")]), ())


def test_a_link_that_is_turned_while_it_is_opened_leads_nowhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "a.pdf")
    write(folder.parent / "secret", PNG)
    (folder / "link.pdf").symlink_to("a.pdf")
    path = parquet(folder / "x.parquet", where=["link.pdf"])
    (row,) = list_sources([path], column="where").to_pylist()
    found = find_roots([path], ())
    real_open = os.open

    def turn(path: str, flags: int) -> int:
        (folder / "link.pdf").unlink()
        (folder / "link.pdf").symlink_to("../secret")
        return real_open(path, flags)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.ingest.storage.os.open", turn)
        assert read_reason(row, found) == "not_allowed"
