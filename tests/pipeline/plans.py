"""Plans and rows that the tests of the stages start from."""

from pathlib import Path

from pipeline.config import FlowConfig, make_plan
from pipeline.plan.items import Plan
from schemas.targets import Question

QUESTIONS = (Question(id="total", text="What is the total?"), Question(id="when", text="When?"))


def plan_for(checkpoint: Path, **changes: object) -> Plan:
    """The plan of a run with two questions, or with what `changes` say of its FlowConfig."""
    values = {"inputs": ("in",), "output": "out", "model": str(checkpoint), "max_new_tokens": 4} | changes
    if "target" not in values:
        values = {"questions": QUESTIONS} | values
    return make_plan(FlowConfig(**values))  # type: ignore[arg-type]  # values of all types
