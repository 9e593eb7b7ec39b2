"""pyiceberg's files on Google Cloud Storage and Azure: by `object_files`, as documents and Delta tables are.

pyiceberg's own file systems of these clouds want properties of their own (gcs.*, adls.*). Where a catalog
hands such properties over, these hold; else the credentials are those of the environment. Any other place is
pyiceberg's own.
"""

import pyarrow.fs as pafs
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.typedef import EMPTY_DICT, Properties

from pipeline.ingest.object_files import ObjectFiles
from pipeline.ingest.object_uris import is_object, place_of

NAME = f"{__name__}.CloudFileIO"  # by which pyiceberg imports it
_HANDED_OVER = {"gs": "gcs.", "az": "adls.", "abfss": "adls."}


class CloudFileIO(PyArrowFileIO):
    """Files on any of the clouds, and local ones."""

    @staticmethod
    def parse_location(location: str, properties: Properties = EMPTY_DICT) -> tuple[str, str, str]:
        """A scheme, a bucket, and the path that its file system has. Raises ValueError."""
        if not is_object(location) or location.startswith("s3://"):
            return PyArrowFileIO.parse_location(location, properties)
        place = place_of(location)
        if any(name.startswith(_HANDED_OVER[place.scheme]) for name in properties):
            return PyArrowFileIO.parse_location(location, properties)
        return place.scheme, place.root, place.path

    def _initialize_fs(self, scheme: str, netloc: str | None = None) -> pafs.FileSystem:
        if netloc is not None and "://" in netloc:
            return pafs.PyFileSystem(ObjectFiles(place_of(netloc)))
        return super()._initialize_fs(scheme, netloc)
