"""Result rows in; the same rows, and rows of the items that share an answer, as soon as it is there, out.

The resolver lives in the driver, before `document_progress`. A shared row is a copy of its owner's, under its
own keys, uri and pages, and names the owner in `shared_from`. If the owner itself shares an answer, both rows
name the item that was asked. If the owner fails, the items that share its answer fail, too, for the same
reason. Items whose owner has no row yet wait on disk.
"""

import pickle
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commit.tables import Table
from pipeline.dedup.registry import Pair, private_database
from pipeline.dedup.result_store import ResultStore
from pipeline.plan.plan import Plan
from pipeline.plan.rows import FAILURE, Row, column_of, result_schema, table_of

CACHE_MIB = 4  # of the items that wait


class Resolver:
    """The items that share an answer, and the answers that they may share."""

    def __init__(self, plan: Plan, answers: Sequence[Table]) -> None:
        """The tables of answers come in the order of the asks."""
        self._plan = plan
        self._schema = result_schema(*(ask.model for ask in plan.asks))
        self._results = ResultStore(answers, self._schema)
        self._database = private_database(CACHE_MIB)
        columns = "owner BLOB, item BLOB, sharer BLOB, PRIMARY KEY (owner, item)"
        self._database.execute(f"CREATE TABLE waiting ({columns}) WITHOUT ROWID")
        self._waiting = 0

    def seed(self, note: Callable[[Sequence[Pair]], None]) -> None:
        """Notes the answers in the tables, and the claims of their items."""
        for ask in self._plan.asks:
            for pairs in self._results.seed(ask.number, ask.settings_key):
                note(pairs)

    def resolve(self, results: pa.Table) -> pa.Table:
        """Rows of `rows.result_schema`, and the shared rows that can be made now."""
        parts = [results]
        arrived = self._results.keep(results)
        ready = []
        for sharer in pc.list_flatten(results["shared"]).to_pylist():
            if sharer["owner"] in self._results:
                ready.append(sharer)
            else:
                self._wait(sharer)
        ready += self._come(arrived)
        while ready:
            new = {one["item_key"]: one for one in ready if one["item_key"] not in self._results}
            rows = [self._row(sharer) for sharer in new.values()]
            parts.append(table_of(rows, self._schema))
            ready = self._come(self._results.keep(parts[-1]))
        return pa.concat_tables(parts)

    def committed(self, table: Table, path: str, rows: pa.Table) -> None:
        """These answers or failures of this run are a file of their table."""
        self._results.committed(table, path, rows["item_key"].to_pylist())

    def rest(self) -> pa.Table:
        """Failures of items whose owner never came: a task that Ray repeated found its document changed."""
        rows = []
        for (data,) in self._database.execute("SELECT sharer FROM waiting"):
            sharer = pickle.loads(data)
            if sharer["item_key"] not in self._results:
                rows.append(self._lost(sharer))
        return table_of(rows, self._schema)

    def _wait(self, sharer: Row) -> None:
        owner, item = bytes.fromhex(sharer["owner"]), bytes.fromhex(sharer["item_key"])
        insert = "INSERT OR IGNORE INTO waiting VALUES (?, ?, ?)"
        self._waiting += self._database.execute(insert, (owner, item, pickle.dumps(sharer))).rowcount

    def _come(self, items: Sequence[str]) -> list[Row]:
        """The items that waited for these; they wait no longer."""
        found: list[Row] = []
        for item in items if self._waiting else ():
            owner = (bytes.fromhex(item),)
            rows = self._database.execute("SELECT sharer FROM waiting WHERE owner = ?", owner).fetchall()
            if rows:
                self._database.execute("DELETE FROM waiting WHERE owner = ?", owner)
                self._waiting -= len(rows)
                found += [pickle.loads(data) for (data,) in rows]
        return found

    def _row(self, sharer: Row) -> Row:
        try:
            found = self._results.get(sharer["owner"])
        except OSError:  # somebody vacuumed the table while the run went on
            return self._lost(sharer)
        assert found is not None, sharer
        kind, owner = found
        source = owner["shared_from"] or sharer["owner"]
        mine = {name: sharer[name] for name in ("item_key", "source_key", "uri", "page_first", "page_last")}
        mine |= {"question_id": sharer["question_id"], "question": sharer["question"]}
        mine |= {"run_id": self._plan.run_id, "shared_from": source}
        mine |= {"settings_key": self._plan.asks[sharer["ask"]].settings_key}
        if kind == FAILURE:
            message = owner["message"] if owner["shared_from"] else _as(owner)
            mine |= {"message": message, "failed_at": datetime.now(UTC)}
            mine |= self._seen(sharer, owner) if owner["partial"] else {}
        elif sharer["prompt_key"] not in (None, owner["prompt_key"]):
            return self._lost(sharer)  # the owner's window was drawn again, and a page failed this time
        else:
            mine |= self._answer(sharer, owner)
        return _result(kind, sharer["ask"], owner | mine)

    def _answer(self, sharer: Row, owner: Row) -> Row:
        return self._seen(sharer, owner) | {
            "content_key": sharer["content_key"],
            "cached_tokens": owner["prompt_tokens"],  # of this row nothing was computed
            "output_tokens": 0,
            "answered_at": datetime.now(UTC),
        }

    def _seen(self, sharer: Row, owner: Row) -> Row:
        shift = sharer["page_first"] - owner["page_first"]
        seen = owner if sharer["prompt_key"] is None else sharer  # an item that was not drawn has no notes
        return {name: seen[name] for name in ("pages_missing", "note", "page_damaged")} | {
            "fields": [
                field | {"page": None if field["page"] is None else field["page"] + shift}
                for field in owner["fields"]
            ],
        }

    def _lost(self, sharer: Row) -> Row:
        names = ("item_key", "source_key", "uri", "page_first", "page_last", "question_id", "question")
        ask = self._plan.asks[sharer["ask"]]
        failure = {name: sharer[name] for name in names} | {
            "run_id": self._plan.run_id,
            "settings_key": ask.settings_key,
            "target": ask.label,
            "stage": "generate",
            "reason": "owner_lost",
            "message": f"the page whose answer {sharer['uri']} was to share was not answered after all",
            "failed_at": datetime.now(UTC),
            "shared_from": sharer["owner"],
        }
        return _result(FAILURE, ask.number, failure)


def _result(kind: str, ask: int, row: Row) -> Row:
    names = ("source_key", "uri", "item_key", "page_first", "page_last", "shared_from")
    return {"kind": kind, "ask": ask, column_of(kind, ask): row, **{name: row[name] for name in names}}


def _as(owner: Row) -> str:
    page = "" if owner["page_first"] is None else f", page {owner['page_first']}"
    return f"identical to {owner['uri']}{page}, which failed: {owner['message']}"
