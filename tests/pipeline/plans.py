"""Plans and rows that the tests of the stages start from."""

from dataclasses import replace
from pathlib import Path

from pipeline.config import FlowConfig, make_plan
from pipeline.plan.limits import Limits
from pipeline.plan.plan import Ask, Plan
from schemas.targets import Question

QUESTIONS = (Question(id="total", text="What is the total?"), Question(id="when", text="When?"))

ANY = Question(id="any", text="Any?")
PDF = Question(id="pdf", text="Of a PDF?", documents="*.pdf")
THIRD = Question(id="third", text="On page 3?", pages=[3])
ASK = Ask(
    number=0,
    settings_key="settings",
    questions=(ANY, PDF, THIRD),
    target=None,
    scope="page",
    max_new_tokens=10,
)
PLAN = Plan(
    run_id="run",
    asks=(ASK,),
    max_pages=4,
    pages=(1, None),
    max_side=1024,
    model="model/nano",
    patch_size=16,
    vocab_size=3048,
    limits=Limits(),
    passwords=(),
    roots=(),
)


def asking(**changes: object) -> Plan:
    """PLAN with another ask."""
    return replace(PLAN, asks=(replace(ASK, **changes),))  # type: ignore[arg-type]  # values of all types


def plan_for(checkpoint: Path, **changes: object) -> Plan:
    """The plan of a run with two questions, or with what `changes` say of its FlowConfig."""
    values = {"inputs": ("in",), "output": "out", "model": str(checkpoint), "max_new_tokens": 4} | changes
    if "targets" not in values:
        values = {"questions": QUESTIONS} | values
    return make_plan(FlowConfig(**values))  # type: ignore[arg-type]  # values of all types
