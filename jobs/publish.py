"""Publish the tables of an output as Iceberg tables, where warehouses look for them.

An Iceberg table consists of the same Parquet files as its Delta table: nothing is copied. It becomes one
version of the Delta table in one step; the version stands in the summary of the snapshot. The same version is
published once.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jobs.run.endings import ended
from jobs.run.parser import Parser
from jobs.run.terminal import say, start_output
from pipeline.extras import missing

if TYPE_CHECKING:
    from pipeline.publish.iceberg import Published

EXTRA = "iceberg"
NAMESPACE = "quire"
EPILOG = """\
examples:
  # a catalog in a file of SQLite
  python -m jobs.publish out/totals --catalog here --property type=sql --property uri=sqlite:///out/here.db

  # AWS Glue, for Athena, Redshift, Spark, Snowflake; credentials as AWS_* or ~/.aws say
  python -m jobs.publish s3://bucket/out --catalog glue --property type=glue

  # a catalog that .pyiceberg.yaml describes, with its token; one table
  python -m jobs.publish s3://bucket/out --catalog lake --table answers/text

rules:
  answers/text becomes the table answers_text of the namespace. Its metadata lie in the catalog's warehouse,
  or under OUT/_iceberg.
  Only the newest snapshot stays, since jobs.maintain removes files that older ones need. Publish behind
  jobs.maintain: with --retention 0 it removes those of the snapshot that is published, too.
  Of two that publish at the same time, one fails. What a crash cut, the same command does.

exit code:
  0 done, 1 broke off (the same command continues), 130 stopped, 2 a mistake, and nothing was published
"""


def make_parser() -> Parser:
    """All flags of the job."""
    parser = Parser("publish", description=__doc__, epilog=EPILOG)
    parser.add_argument("output", metavar="OUT", help="the --output of runs")
    parser.add_argument(
        "--catalog",
        metavar="NAME",
        required=True,
        help="the Iceberg catalog, by its name in .pyiceberg.yaml, or any name with --property",
    )
    parser.add_argument(
        "--property",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the catalog, as pyiceberg names it (type, uri, warehouse, ...); repeat it for more",
    )
    parser.add_argument(
        "--namespace",
        default=NAMESPACE,
        metavar="NAME",
        help="in the catalog, created if it is not there (default: %(default)s)",
    )
    parser.add_argument(
        "--table",
        action="append",
        default=[],
        metavar="PATH",
        help="a table by its path under OUT, as answers/text; repeat it for more (default: all)",
    )
    return parser


def publish(
    output: str,
    *,
    catalog: str,
    properties: Mapping[str, str] | None = None,
    namespace: str = NAMESPACE,
    tables: Sequence[str] = (),
) -> list[str]:
    """Publishes tables of an output, all of them if none is named; returns what was done, a line each.

    Raises ValueError, in one sentence: nothing was published; and OutputError: some tables were not.
    """
    from pipeline.commit.maintenance import find_tables
    from pipeline.commit.manifest import check_reachable
    from pipeline.commit.tables import absolute_uri

    try:
        from pipeline.ingest import catalogs
        from pipeline.publish import iceberg
    except ModuleNotFoundError as error:
        raise ValueError(missing(error, EXTRA)) from error
    check_reachable(output)
    found = find_tables(output)
    if unknown := [name for name in tables if name not in found]:
        raise ValueError(f"--table {unknown[0]}: {output} has {', '.join(found)}")
    chosen = [found[name] for name in dict.fromkeys(tables or found)]
    with catalogs.opened(catalog, properties or {}) as opened:
        return [_line(made) for made in iceberg.publish(opened, namespace, absolute_uri(output), chosen)]


def properties_of(given: Sequence[str]) -> dict[str, str]:
    """Pairs KEY=VALUE as a dict. Raises ValueError."""
    pairs = [text.partition("=") for text in given]
    for text, (key, separator, _) in zip(given, pairs, strict=True):
        if not key or not separator:
            raise ValueError(f"--property {text}: it should read KEY=VALUE, as type=glue")
    return {key: value for key, _, value in pairs}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    start_output(logging.WARNING)
    logging.getLogger("pyiceberg").setLevel(logging.ERROR)  # it warns of columns without statistics
    return ended(lambda: _publish(make_parser().parse_args(arguments)))


def _publish(given: argparse.Namespace) -> None:
    done = publish(
        given.output,
        catalog=given.catalog,
        properties=properties_of(given.property),
        namespace=given.namespace,
        tables=given.table,
    )
    say("\n".join(done), sys.stdout)


def _line(made: "Published") -> str:
    if not made.is_new:
        return f"{made.table}: version {made.version} is published as {made.identifier} already"
    return (
        f"{made.table}: version {made.version} is published as {made.identifier}: "
        f"{made.added:,} files added, {made.removed:,} removed"
    )


if __name__ == "__main__":
    sys.exit(main())
