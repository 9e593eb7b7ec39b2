"""The SQL of docs/warehouse.md that cannot be run here is at least SQL, and names columns that there are."""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest
import sqlglot
from deltalake import write_deltalake
from sqlglot import exp

from pipeline.child_process import ROOT
from schemas.arrow import arrow_schema
from schemas.rows import Answer

PAGE = (ROOT / "docs" / "warehouse.md").read_text()
DIALECTS = {
    "Spark": "spark",
    "Databricks": "databricks",
    "Athena": "athena",
    "Snowflake": "snowflake",
    "BigQuery": "bigquery",
}
# Statements for which sqlglot has no grammar: it keeps their text.
TEXT_ALONE = {("Snowflake", "CREATE CATALOG INTEGRATION"), ("BigQuery", "CREATE EXTERNAL TABLE")}


def statements(heading: str) -> Iterator[str]:
    """The indented SQL under a heading, which says that it is not run."""
    section = PAGE.partition(f"### {heading}\n")[2].partition("\n### ")[0]
    assert "Not run here, parsed." in section
    for block in re.findall(r"(?:^    .*\n?)+", section, re.MULTILINE):
        yield re.sub("^    ", "", block, flags=re.MULTILINE)


def columns(statement: exp.Expression) -> set[str]:
    return {column.name for column in statement.find_all(exp.Column)}


@pytest.mark.parametrize("heading", DIALECTS)
def test_the_sql_of_a_warehouse_is_of_its_dialect(heading: str) -> None:
    selects = 0
    for block in statements(heading):
        for statement in sqlglot.parse(block, dialect=DIALECTS[heading]):
            assert statement is not None
            if isinstance(statement, exp.Command):
                text = statement.sql()
                assert any(text.startswith(start) for where, start in TEXT_ALONE if where == heading), text
            elif isinstance(statement, exp.Select):
                selects += 1
                assert columns(statement) <= set(arrow_schema(Answer).names)
    assert selects


def test_duckdb_parses_the_sql_for_its_extensions() -> None:
    found = [
        one for block in statements("DuckDB with its extensions") for one in duckdb.extract_statements(block)
    ]
    assert [one.type.name for one in found] == "LOAD LOAD SELECT LOAD LOAD CREATE ATTACH SELECT".split()


@pytest.mark.parametrize(("folder", "is_found"), [("plain", True), ("a b", False), ("é", False)])
def test_polars_scans_delta_under_plain_names(tmp_path: Path, folder: str, is_found: bool) -> None:
    """Once it finds them all, the page can say so."""
    place = str(tmp_path / folder)
    write_deltalake(place, pa.table({"uri": ["/a.pdf"]}))
    with nullcontext() if is_found else pytest.raises(FileNotFoundError):
        assert pl.scan_delta(place).collect().to_dicts() == [{"uri": "/a.pdf"}]


def test_sql_of_another_dialect_or_with_a_slip_is_noticed() -> None:
    with pytest.raises(sqlglot.ParseError):
        sqlglot.parse("SELECT uri, answer FROM delta.`s3a://bucket/x` WHERE", dialect="spark")
    with pytest.raises(sqlglot.errors.SqlglotError):
        sqlglot.parse("SELECT uri FROM delta.`s3://x`", dialect="snowflake")
