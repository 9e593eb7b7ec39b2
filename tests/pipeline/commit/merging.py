"""A simulated output with a target, whose answers about pages become one of their document."""

from datetime import date
from decimal import Decimal

from pipeline.commit.tables import Table, create_tables
from pipeline.plan.plan import Plan
from pipeline.plan.rows import Row
from schemas.rows import Answer, answer_row
from schemas.targets import Question, Receipt, ReceiptItem
from tests.pipeline.commit.simulated import World, said
from tests.pipeline.plans import asking

TARGET = (Question(id="Receipt", text="Receipt"),)


class MergingWorld(World):
    """Each page of a document is a line of its receipt."""

    names = ("answers", "failures", "merged", "documents")
    target = Receipt

    def create(self, output: str) -> dict[str, Table]:
        return create_tables(output, Receipt, merged=[Receipt])

    def plan(self) -> Plan:
        return asking(
            settings_key=f"settings {self.settings}", questions=TARGET, target="Receipt", merge=True
        )

    def answer(self, item: Row, plan: Plan) -> Answer:
        line = ReceiptItem(name=item["item_key"], amount=item["page_first"])
        receipt = Receipt(merchant=item["source_key"], date=date(2026, 1, 2), items=[line], total=Decimal(1))
        return answer_row(Receipt).model_validate({"answer": receipt} | item | said(plan))

    def check(self) -> None:
        """A merged row says what its document's answers say, and a document that is done has one."""
        super().check()
        found = self.rows()
        merged = {row["source_key"]: row for row in found["merged"] if row["uri"] not in self._deleted}
        assert len(merged) == len([row for row in found["merged"] if row["uri"] not in self._deleted])
        for key, row in merged.items():
            answers = [one for one in found["answers"] if one["source_key"] == key]
            answers.sort(key=lambda one: one["page_first"])
            failures = [one for one in found["failures"] if one["source_key"] == key]
            expected = [one["item_key"] for one in answers]
            assert row["item_keys"] == [line["name"] for line in row["answer"]["items"]] == expected
            assert {one["settings_key"] for one in answers} == {row["settings_key"]}
            assert (row["pages_missing"] or []) == sorted(one["page_first"] for one in failures)
            assert row["answer"]["merchant"] == key
        for document in found["documents"]:
            if document["items_answered"] and document["uri"] not in self._deleted:
                assert document["source_key"] in merged, document
