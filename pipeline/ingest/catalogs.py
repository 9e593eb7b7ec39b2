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
from sqlalchemy.exc import SQLAlchemyError

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
    for name, value in s3_properties().items():
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


def s3_properties() -> dict[str, str]:
    """How pyiceberg, which does not read AWS_ENDPOINT_URL, reaches the S3 that we do."""
    if not (endpoint := os.environ.get("AWS_ENDPOINT_URL")):
        return {}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return {"s3.endpoint": endpoint} | ({"s3.region": region} if region else {})  # else pyiceberg asks AWS


def said(error: Exception) -> str:
    """An error's message on one line; of a database, its own and not the query."""
    return " ".join(str(getattr(error, "orig", None) or error).split())
