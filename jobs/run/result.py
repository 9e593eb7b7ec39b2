"""The output of a finished run, as Arrow tables."""

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from jobs.run.runner import summary
from jobs.run.terminal import shown
from pipeline.commit.tables import is_of_answers, read_table
from pipeline.extras import missing


class Result:
    """What an output holds, of earlier runs too. Tables are read when they are asked for."""

    def __init__(self, output: str, record: Mapping[str, Any]) -> None:
        self.output = output
        """Where the tables lie."""
        self.record = MappingProxyType(dict(record))
        """run.json."""

    def __repr__(self) -> str:
        return shown(summary(dict(self.record), self.output))

    @property
    def names(self) -> list[str]:
        """What the run calls its tables: answers, or answers/... where it asked several things, and so on."""
        return list(self.record["tables"])

    def table(self, name: str) -> pa.Table:
        """A table of the run. Raises ValueError if it has none of this name."""
        if name not in self.names:
            raise ValueError(f"the run has no table {name!r}; it has {', '.join(self.names)}")
        return read_table(f"{self.output.rstrip('/')}/{self.record['tables'][name]}")

    @cached_property
    def answers(self) -> pa.Table:
        """Each answer. Raises ValueError if the run asked several things: each has a table of its own."""
        return self._only([name for name in self.names if is_of_answers(name)])

    @cached_property
    def merged(self) -> pa.Table | None:
        """A target's answers, one a document; None if the run merged none. Raises ValueError as `answers`."""
        names = [name for name in self.names if name.startswith("merged")]
        return self._only(names) if names else None

    @cached_property
    def failures(self) -> pa.Table:
        """Each item without an answer."""
        return self.table("failures")

    @cached_property
    def documents(self) -> pa.Table:
        """Each document."""
        return self.table("documents")

    def to_pandas(self) -> Any:
        """The answers as a DataFrame, in which each field of a target is a column: answer.total.

        Raises ModuleNotFoundError if pandas is not installed, ValueError as `answers`.
        """
        try:
            import pandas  # noqa: F401 - only to say what is missing
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(missing(error, "test"), name=error.name) from error
        table = self.answers
        if pa.types.is_struct(table.schema.field("answer").type):
            kept = table.drop_columns(["answer"])
            parts = table.select(["answer"]).flatten()
            for name in reversed(parts.column_names):
                kept = kept.add_column(table.schema.get_field_index("answer"), name, parts[name])
            table = kept
        return table.to_pandas()

    def _only(self, names: list[str]) -> pa.Table:
        if len(names) > 1:
            raise ValueError(
                f"the run asked several things, each with a table of its own: take table(name) of "
                f"{', '.join(names)}"
            )
        return self.table(names[0])
