"""Outputs and Iceberg tables on Google Cloud Storage and Azure, by the credentials of all else there."""

from contextlib import suppress
from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import PyArrowFile

from jobs.exports.destination import Destination
from pipeline.ingest.catalogs import file_properties
from pipeline.ingest.iceberg import plain_uri
from tests.pipeline.clouds import ACCOUNT, Cloud
from tests.pipeline.ingest.listed import complaint, contents, uris
from tests.pipeline.ingest.tables import made, rows
from tests.pipeline.publish.test_iceberg import Place


def root_of(cloud: Cloud) -> str:
    """The bucket, as tables of Iceberg's name it."""
    return cloud.address if cloud.scheme == "gs" else f"abfss://quire@{ACCOUNT}.dfs.core.windows.net"


def test_an_output_is_published_beside_its_files(cloud: Cloud, tmp_path: Path) -> None:
    properties = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db"}
    place = Place(f"{cloud.address}/out dir", properties)
    place.add("a", "b")
    assert place.publish().is_new
    assert not place.publish().is_new
    place.add("c", replacing=True)
    made_again = place.publish()
    assert (made_again.added, made_again.removed, made_again.version) == (1, 1, place.check())
    catalog = SqlCatalog("lake", **properties, **file_properties())
    table = place.published(catalog)
    assert table.location() == f"{root_of(cloud)}/out dir/_iceberg/{place.answers.name}"
    assert all(task.file.file_path.startswith(root_of(cloud)) for task in table.scan().plan_files())
    catalog.close()


def test_an_iceberg_table_is_read_by_its_folder(cloud: Cloud, tmp_path: Path) -> None:
    catalog = SqlCatalog(
        "lake", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=root_of(cloud), **file_properties()
    )
    catalog.create_namespace("docs")
    table = made(catalog, "a", "b")
    first = table.current_snapshot()
    assert first is not None
    table.append(rows("c"))
    table.delete("id = 'b'")
    inside = plain_uri(table.location()).removeprefix(root_of(cloud))
    for given in (f"{cloud.address}{inside}", f"{root_of(cloud)}{inside}"):
        assert sorted(contents(given, column="page")) == [b"a", b"c"]
        assert sorted(contents(f"{given}@{first.snapshot_id}")) == [b"a", b"b"]
    assert all(uri.startswith(f"{root_of(cloud)}{inside}/data/") for uri in uris(given))
    metadata = table.metadata_location.removeprefix(root_of(cloud))
    cloud.put(f"copy/metadata/{metadata.rpartition('/')[2]}", cloud.get(metadata.lstrip("/")))
    assert "which lies elsewhere" in complaint(f"{cloud.address}/copy", column="page")
    catalog.close()


@pytest.mark.parametrize("cloud", ["gs"], indirect=True)
def test_what_a_catalog_hands_over_goes_first(cloud: Cloud, tmp_path: Path) -> None:
    handed = {"gcs.service.host": f"http://127.0.0.1:{cloud.port}", "gcs.oauth2.token": "x"}
    handed |= {"gcs.oauth2.token-expires-at": "4102444800000"}
    catalog = SqlCatalog(
        "lake", uri=f"sqlite:///{tmp_path}/c.db", warehouse=cloud.address, **file_properties() | handed
    )
    file = catalog._load_file_io(location=cloud.address).new_input(f"{cloud.address}/x")
    assert isinstance(file, PyArrowFile)
    assert file._filesystem.type_name == "gcs"
    catalog.close()


def test_an_export_is_whole_or_not_there(cloud: Cloud) -> None:
    place = f"{cloud.address}/to #1"
    destination = Destination(place, force=False)
    with destination.open("a/b é.csv") as stream:
        stream.write(b"x" * 1_000)
    with suppress(KeyError), destination.open("c.csv") as stream:
        stream.write(b"half")
        raise KeyError
    assert cloud.names() == ["to #1/a/b é.csv"]
    assert len(cloud.get("to #1/a/b é.csv")) == 1_000
    with pytest.raises(ValueError, match="is not empty: choose another folder, or give --force"):
        Destination(place, force=False)
