"""HumanEval's measure: the program that a model wrote passes its tests, or it does not.

In: what the model wrote, and the problem. Out: 1.0 or 0.0; pass@1 is the average. The program is put together
as by openai/human-eval 6d43fb9: the problem's prompt, the completion, the tests, and a call of them.
"""

import re

from jobs.evaluation.programs.running import SECONDS, run_program

# Of any language: a fence that is not seen as one would make its end the begin of the next.
_FENCED = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:\n?^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


def pass_at_1(prediction: str, prompt: str, test: str, entry_point: str, *, seconds: int = SECONDS) -> float:
    """1.0 if the program passes. Raises ValueError where programs cannot be confined."""
    source = program(completion(prediction, entry_point), prompt, test, entry_point)
    return float(run_program(source, seconds=seconds) == "passed")


def program(completion: str, prompt: str, test: str, entry_point: str) -> str:
    """What is run."""
    return f"{prompt}{completion}\n{test}\ncheck({entry_point})"


def completion(text: str, entry_point: str) -> str:
    """What continues the prompt: the fenced block that defines the function, or the first one, or the text.

    A block that is the whole function replaces the prompt's, whose body is then its docstring alone.
    """
    blocks: list[str] = _FENCED.findall(text)
    defines = re.compile(rf"^def\s+{re.escape(entry_point)}\b", re.MULTILINE)
    if not blocks:
        return f"\n{text}" if defines.search(text) else text
    for block in blocks:
        if defines.search(block):
            return f"\n{block}"
    return blocks[0]
