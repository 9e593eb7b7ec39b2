"""An Iceberg catalog's name and properties in; the catalog, or one sentence on why there is none, out.

Catalogs are pyiceberg's: it takes what `.pyiceberg.yaml` and PYICEBERG_* say of a name, and what is given
beside it goes first.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pyarrow as pa
from botocore.exceptions import BotoCoreError, ClientError
from pyiceberg import exceptions
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.io import PY_IO_IMPL
from sqlalchemy.exc import SQLAlchemyError

from pipeline.ingest import cloud_file_io

# What pyiceberg lets through, its own and that of the libraries under it; its exceptions have no common base.
CATALOG_ERRORS: tuple[type[Exception], ...] = (
    exceptions.RESTError,
    exceptions.NoSuchNamespaceError,
    exceptions.NoSuchPropertyException,
    exceptions.NotInstalledError,
    exceptions.SignError,
    exceptions.ResolveError,
    exceptions.ValidationError,
    exceptions.ValidationException,
    SQLAlchemyError,
    BotoCoreError,
    ClientError,
    ModuleNotFoundError,  # the driver of a database
    OSError,  # so are those of requests
    ValueError,
    NotImplementedError,
    pa.ArrowException,
)


@contextmanager
def opened(name: str, properties: Mapping[str, str]) -> Iterator[Catalog]:
    """The catalog, while the context lasts. Raises ValueError: it is not described, or not reached."""
    try:
        catalog = load_catalog(name, **properties)
    except CATALOG_ERRORS as error:
        raise ValueError(
            f"the catalog {name} cannot be opened: {said(error)}; describe its type, uri, warehouse, ... "
            "in .pyiceberg.yaml (jobs.publish takes them with --property, too)"
        ) from error
    for name, value in file_properties().items():
        catalog.properties.setdefault(name, value)
    try:
        yield catalog
    finally:
        catalog.close()


@contextmanager
def asking(catalog: Catalog) -> Iterator[None]:
    """What the catalog refuses or leaves unanswered is a ValueError."""
    try:
        yield
    except CATALOG_ERRORS as error:
        raise ValueError(f"the catalog {catalog.name} does not answer as it should: {said(error)}") from error


def file_properties() -> dict[str, str]:
    """How pyiceberg, which does not read the clouds' variables, reaches the files that we do."""
    properties = {PY_IO_IMPL: cloud_file_io.NAME}
    if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        properties |= {"s3.endpoint": endpoint}
        properties |= {"s3.region": region} if region else {}  # else pyiceberg asks AWS
    return properties


def said(error: Exception) -> str:
    """An error's message on one line; of a database, its own and not the query."""
    return " ".join(str(getattr(error, "orig", None) or error).split())
