"""New result rows in; what a run counts besides documents and items, out: failures by reason, tokens."""

from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.plan.rows import ANSWER, FAILURE, column_of


@dataclass(kw_only=True)
class Tally:
    """Of the rows of this run alone."""

    failures: Counter[str] = field(default_factory=Counter)
    """Items by reason."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Those of them that were computed before."""
    output_tokens: int = 0

    def add(self, results: pa.Table, asks: int) -> None:
        """New rows of `rows.result_schema`, of so many asks."""
        reasons = pc.struct_field(results[FAILURE], "reason")
        self.failures.update(pc.drop_null(reasons).to_pylist())
        for ask in range(asks):
            answers = results[column_of(ANSWER, ask)]
            for name in ("prompt_tokens", "cached_tokens", "output_tokens"):
                tokens = pc.sum(pc.struct_field(answers, name)).as_py() or 0
                setattr(self, name, getattr(self, name) + tokens)
