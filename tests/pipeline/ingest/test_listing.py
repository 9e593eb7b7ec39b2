"""Files, folders and globs become a list of documents with keys; a wrong input is one clear sentence."""

import hashlib
import logging
import os
from pathlib import Path

import pytest

from pipeline.ingest.entries import Entry
from pipeline.ingest.listing import list_sources
from pipeline.ingest.reading import read_source
from pipeline.ingest.sources import file_key
from tests.pipeline.ingest.listed import (
    PDF,
    PNG,
    complaint,
    contents,
    keys,
    parquet,
    uris,
    write,
)


def test_a_file_is_one_document_with_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.pdf")
    monkeypatch.chdir(tmp_path)
    (source,) = list_sources(["a.pdf"]).to_pylist()
    assert source["uri"] == source["location"] == path
    assert source["size"] == len(PDF)
    assert source["column"] is source["row_group"] is source["row"] is None
    assert read_source(source, ()) == PDF


def test_a_folder_gives_the_documents_in_it_and_below_sorted(tmp_path: Path) -> None:
    b, a = write(tmp_path / "b.PNG", PNG), write(tmp_path / "a" / "deep" / "x.pdf")
    write(tmp_path / ".hidden.pdf")
    write(tmp_path / ".git" / "y.pdf")
    assert uris(tmp_path) == [a, b]
    assert contents(tmp_path) == [PDF, PNG]


def test_a_file_in_a_folder_is_a_document_by_its_bytes_whatever_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = [write(tmp_path / "contract.v2"), write(tmp_path / "scan", PNG)]
    write(tmp_path / "notes.txt", b"text")
    write(tmp_path / "more.txt", b"text")
    write(tmp_path / "README", b"text")
    write(tmp_path / "empty", b"")
    with caplog.at_level(logging.WARNING):
        assert uris(tmp_path) == found
    assert "skipped 4 files that are no documents: 2 without a suffix, 2 .txt" in caplog.text


def test_a_named_file_is_a_document_whatever_it_holds(tmp_path: Path) -> None:
    path = write(tmp_path / "notes.txt", b"text")
    assert uris(path) == [path]


def test_a_broken_link_and_a_pipe_in_a_folder_are_no_documents(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf")
    (tmp_path / "dead.pdf").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.pdf")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.pdf").symlink_to(tmp_path / "self.pdf")
    assert uris(tmp_path) == [path]


def test_globs_match_files_and_folders(tmp_path: Path) -> None:
    a, b = write(tmp_path / "2024-a" / "x.pdf"), write(tmp_path / "2024-b" / "y.png", PNG)
    write(tmp_path / "2025" / "z.pdf")
    assert uris(tmp_path / "2024-*") == [a, b]
    assert uris(tmp_path / "**" / "*.p[dn][fg]") == [a, b, str(tmp_path / "2025" / "z.pdf")]
    assert uris(tmp_path / "2024-?" / "*.png") == [b]


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Three documents, one of them behind a link to a folder, and links that lead in circles."""
    top = tmp_path / "in"
    write(top / "own.png", PNG)
    write(tmp_path / "elsewhere" / "2024" / "r.png", PNG)
    (top / "linked_folder").symlink_to("../elsewhere")
    (top / "linked_file.png").symlink_to("../elsewhere/2024/r.png")
    (top / "loop").symlink_to(".")
    (top / "deep").mkdir()
    (top / "deep" / "up").symlink_to("..")
    (tmp_path / "elsewhere" / "back").symlink_to("../in")
    (top / "a").symlink_to("b")
    (top / "b").symlink_to("a")
    (top / "lost.png").symlink_to("own.png/x")
    os.mkfifo(top / "pipe.png")
    return top


LINKED = ["linked_file.png", "linked_folder/2024/r.png", "own.png"]


@pytest.mark.parametrize("glob", ["", "/", "/**", "/**/*", "/**/*.png", "/**/**/*.png", "/*"])
def test_folders_behind_links_are_read_and_loops_once(
    linked: Path, glob: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert uris(f"{linked}{glob}") == [f"{linked}/{name}" for name in LINKED]
    assert f"{linked}{glob}: skipped other names of what is read already: " in caplog.text
    if glob == "":
        assert f"already: 3, such as {linked}/deep/up" in caplog.text
        assert f"skipped links that lead nowhere: 3, such as {linked}/a" in caplog.text
        assert f"skipped pipes, sockets and devices: 1, such as {linked}/pipe.png" in caplog.text


def test_a_folder_that_only_a_link_leads_to_is_read_by_the_first_one(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "x" / "a.pdf")
    only = tmp_path / "only"
    only.mkdir()
    for name, target in {"c": "../elsewhere", "b": "../elsewhere/x", "d": "../elsewhere"}.items():
        (only / name).symlink_to(target)
    assert uris(only) == uris(only / "**" / "*.pdf") == [f"{only}/b/a.pdf"]
    assert uris(only / "[cd]") == [f"{only}/c/x/a.pdf"]
    assert uris(only / "*" / "*") == [f"{only}/b/a.pdf"]  # the file b/a.pdf, and the folder c/x
    (tmp_path / "also").symlink_to(only)  # the input itself may be one, or lie behind one
    assert uris(tmp_path / "also") == [f"{tmp_path}/also/b/a.pdf"]
    assert uris(tmp_path / "also" / "*" / "a.pdf") == [f"{tmp_path}/also/b/a.pdf"]


def test_parquet_behind_links_is_read_once(tmp_path: Path) -> None:
    parquet(tmp_path / "elsewhere" / "1.parquet", page=[b"a"])
    top = tmp_path / "in"
    top.mkdir()
    (top / "year=2024").symlink_to("../elsewhere")
    (top / "loop").symlink_to(".")
    assert contents(top, column="page") == contents(top / "**", column="page") == [b"a"]


def test_two_stars_are_any_folders_between(tmp_path: Path) -> None:
    found = [write(tmp_path / place / "x.pdf") for place in ("a/b/c", "a/c", "c", "c/d")]
    write(tmp_path / "a" / ".hidden" / "c" / "x.pdf")
    assert uris(tmp_path / "**" / "c" / "x.pdf") == found[:3]
    assert uris(tmp_path / "a" / "**" / "c" / "**" / "x.pdf") == found[:2]
    assert uris(tmp_path / "**" / "c") == sorted(found)
    assert uris(tmp_path / "a" / ".hidden" / "**") == [f"{tmp_path}/a/.hidden/c/x.pdf"]


def test_text_about_a_format_is_skipped_as_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.pdf")
    write(tmp_path / "BMW service report.txt", b"BMW 320d, serviced 2024-01-02\n")
    write(tmp_path / "notes about pdf.md", b"# How to make a file that starts with %PDF-1.7\n")
    write(tmp_path / "gif.txt", b"GIF89a and GIF87a are its versions.\n")
    assert uris(tmp_path) == [path]
    assert "skipped 3 files that are no documents: 2 .txt, 1 .md" in caplog.text


def test_a_name_that_looks_like_a_glob_is_itself_first(tmp_path: Path) -> None:
    path = write(tmp_path / "scan[1].pdf")
    write(tmp_path / "scan1.pdf")
    assert uris(path) == [path]


def test_the_home_folder_and_file_uris_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a b.pdf")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert uris("~/a b.pdf") == uris(Path(path).as_uri()) == [path]


def test_a_name_that_is_no_utf_8_is_listed_and_read(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.pdf"
    with open(path, "wb") as file:
        file.write(PDF)
    assert uris(tmp_path) == [f"{tmp_path.as_uri()}/caf%E9.pdf"]
    assert contents(tmp_path) == [PDF]


def test_each_document_is_listed_once_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.pdf"), write(tmp_path / "b.pdf")
    assert uris(b, tmp_path, tmp_path / "*.pdf", a) == [b, a]


def test_the_key_of_a_file_changes_with_its_place_size_and_time_and_with_nothing_else(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.pdf"))
    os.utime(path, ns=(1, 10**18))
    before = keys(path)
    os.utime(path, ns=(2, 10**18))  # when it was last read
    assert keys(path) == keys(tmp_path) == before
    os.utime(path, ns=(2, 10**18 + 1))
    assert keys(path) != before
    write(path, PDF + b" ")
    os.utime(path, ns=(1, 10**18))
    assert keys(path) != before
    moved = path.rename(tmp_path / "b.pdf")
    moved.write_bytes(PDF)
    os.utime(moved, ns=(1, 10**18))
    assert keys(moved) != before


def test_keys_are_those_of_earlier_versions(tmp_path: Path) -> None:
    """An output that knows a document by another key would do all of it again."""
    assert file_key(Entry(uri="s3://pile/a.pdf", size=3, version=5)) == "c5e9dcf519895a51b66994e8982c913b"
    os.makedirs(tmp_path / "in")
    path = write(tmp_path / "in" / "a.pdf")
    os.utime(path, ns=(1, 10**18 + 7))
    text = f"{path}|{len(PDF)}|{10**18 + 7}"
    assert keys(path) == [hashlib.sha256(text.encode()).hexdigest()[:32]]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("nothing.pdf", "there is no such file or folder"),
        ("no*.pdf", "matches no file"),
        ("", "empty"),
        ("ftp://example.com/a.pdf", "ftp:// is not supported"),
        ("https://example.com/a.pdf", "give a Parquet file with a column of addresses"),
        ("s3://", "names no bucket"),
        ("s3:///key", "names no bucket"),
        ("pipe", "neither a file nor a folder"),
        ("folder", "holds no PDF and no image: it is empty"),
        ("texts", "holds no PDF and no image, only 1 .txt"),
    ],
)
def test_an_input_with_nothing_behind_it_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    os.mkdir("folder")
    write(tmp_path / "texts" / "a.txt", b"text")
    message = complaint(given)
    assert says in message
    assert given in message


def test_no_input_at_all_and_an_id_column_alone_are_errors(tmp_path: Path) -> None:
    assert "there is no input" in complaint()
    assert "--id-column" in complaint(write(tmp_path / "a.pdf"), id_column="id")


@pytest.mark.parametrize("is_there", [False, True])
def test_office_files_of_a_folder_are_documents_where_there_is_a_libreoffice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, is_there: bool
) -> None:
    monkeypatch.setattr(
        "pipeline.ingest.files.installation", lambda: "/usr/lib/libreoffice" if is_there else None
    )
    for name in ("a.pdf", "b.docx", "c.XLSM", "d.html", "e.eml", "f.py"):
        (tmp_path / name).write_bytes(b"x")
    found = [Path(uri).name for uri in list_sources([str(tmp_path)])["uri"].to_pylist()]
    office = ["b.docx", "c.XLSM", "d.html"]
    assert found == (["a.pdf", *office, "e.eml"] if is_there else ["a.pdf", "e.eml"])
    hint = "no documents (install LibreOffice to have office files read)"
    assert (hint in caplog.text) is not is_there
    for name in ("a.pdf", "e.eml"):
        (tmp_path / name).unlink()
    if not is_there:
        with pytest.raises(
            ValueError, match=r"no image, only .* \(install LibreOffice to have office files read\)"
        ):
            list_sources([str(tmp_path)])
