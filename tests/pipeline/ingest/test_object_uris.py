"""Addresses of objects are taken as people write them, and stand in tables in one form."""

import pytest

from pipeline.config import FlowConfig
from pipeline.ingest.object_uris import canonical, holds_credentials, is_object, place_of, without_version
from pipeline.ingest.roots import find_roots, lies_under
from schemas.targets import Question

ACCOUNT = "acme1.dfs.core.windows.net"


@pytest.mark.parametrize(
    ("given", "uri", "path"),
    [
        ("s3://bucket", "s3://bucket", "bucket"),
        ("gs://my_bucket.x/a b#1%41/", "gs://my_bucket.x/a b#1%41", "my_bucket.x/a b#1%41"),
        ("az://scans/a/b.pdf", "az://scans/a/b.pdf", "scans/a/b.pdf"),
        ("abfs://scans/a", "az://scans/a", "scans/a"),
        (f"abfss://scans@{ACCOUNT}/ä", f"abfss://scans@{ACCOUNT}/ä", "scans/ä"),
        ("abfs://scans@acme1.blob.core.windows.net/ä", f"abfss://scans@{ACCOUNT}/ä", "scans/ä"),
        ("https://acme1.blob.core.windows.net/scans/a%20b%23.pdf", f"abfss://scans@{ACCOUNT}/a b#.pdf", None),
        ("https://acme1.blob.core.windows.net/$web/", f"abfss://$web@{ACCOUNT}", "$web"),
    ],
)
def test_an_address_has_one_form(given: str, uri: str, path: str | None) -> None:
    assert is_object(given)
    assert canonical(given) == uri
    assert canonical(uri) == uri
    assert path is None or place_of(given).path == path


@pytest.mark.parametrize(
    "given", ["/a/s3://b", "file:///a", "https://host/a", "http://acme1.blob.core.windows.net/a"]
)
def test_other_addresses_are_none_of_objects(given: str) -> None:
    assert not is_object(given)
    assert canonical(given) == given


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("gs://", "gs:// names no bucket: it should read gs://bucket/prefix"),
        ("az:///a", "names no container: it should read az://container/prefix"),
        ("abfss://scans@elsewhere.org/a", "names no container"),
        ("gs://a:b@bucket/x", "an address holds credentials"),
    ],
)
def test_an_address_without_a_bucket_is_refused(given: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        place_of(given)


@pytest.mark.parametrize(
    ("given", "bucket"),
    [
        ("s3://bucket@v3", "s3://bucket"),
        ("gs://bucket@2026-11-29T12:00:00Z", "gs://bucket"),
        (f"abfss://scans@{ACCOUNT}@8310298447101/", f"abfss://scans@{ACCOUNT}"),
    ],
)
def test_a_bucket_may_have_a_version_and_that_is_no_password(given: str, bucket: str) -> None:
    assert without_version(given) == bucket
    assert not holds_credentials(given)
    assert find_roots([given], []) == (bucket,)


@pytest.mark.parametrize("given", ["s3://key:secret@v3", "s3://key@bucket", "s3://bucket/key@v3", "/a@v3"])
def test_what_is_no_bucket_has_no_version_of_one(given: str) -> None:
    assert without_version(given) == given
    assert holds_credentials(given) == given.startswith("s3://key")


def test_what_is_signed_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="set AZURE_STORAGE_SAS_TOKEN") as caught:
        place_of("https://acme1.blob.core.windows.net/scans/a?sv=1&sig=hunter2")
    assert "hunter2" not in str(caught.value)


def test_an_account_is_no_password() -> None:
    assert not holds_credentials(f"abfss://scans@{ACCOUNT}/a@b")
    assert not holds_credentials("/a@b")
    assert not holds_credentials("gs://bucket/a@b")
    for given in ("gs://key:hunter2@bucket/a", f"abfss://scans:hunter2@{ACCOUNT}x/a", "s3://me@bucket"):
        assert holds_credentials(given)
        with pytest.raises(ValueError, match="an address holds credentials"):
            FlowConfig(inputs=(given,), output="out", model="m", questions=(Question(text="?"),))


def test_roots_in_every_cloud() -> None:
    roots = find_roots(
        ["gs://docs/deep/x.parquet", f"abfs://scans@{ACCOUNT}/a/*.parquet"],
        ["az://more/2024/", "https://acme1.blob.core.windows.net/old/in%20box"],
    )
    assert roots == (
        "gs://docs",
        f"abfss://scans@{ACCOUNT}",
        "az://more/2024",
        f"abfss://old@{ACCOUNT}/in box",
    )
    for location, inside in {
        "gs://docs/other.pdf": True,
        "gs://docs/../x": False,
        "gs://docs2/other.pdf": False,
        "s3://docs/other.pdf": False,
        "az://docs/other.pdf": False,
        f"abfs://scans@{ACCOUNT}/b": True,
        "az://scans/b": False,  # which account that is, the environment says
        "abfss://scans@acme2.dfs.core.windows.net/b": False,
        "az://more/2024/a": True,
        "az://more/2024b/a": False,
        "https://acme1.blob.core.windows.net/old/in%20box/a": True,
        "https://acme1.blob.core.windows.net/old/in%20box/%2E%2E/a": False,
        "/docs/other.pdf": False,
    }.items():
        assert lies_under(location, roots) == inside, location
