"""Writes pages that nano was not trained on, with their questions, as a data set of jobs.evaluate.

python -m jobs.nano.held_out FOLDER [--pages N] [--fonts FOLDER]

They are asked about in words that the training keeps for this, and with --fonts drawn in faces that it keeps.
Out: FOLDER/questions.jsonl, and the pages as PDF.
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.run.terminal import say
from pipeline.extras import missing
from pipeline.plan.prompts import question_prompt

QUESTIONS = 4  # of a page


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws the pages, and writes their questions."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.nano.held_out",
        description="Write pages that nano was not trained on, and their questions, for jobs.evaluate.",
    )
    parser.add_argument("folder", type=Path, help="the folder to write")
    parser.add_argument("--pages", type=int, default=10, help="pages of each kind")
    parser.add_argument("--fonts", type=Path, help="type faces, as jobs.train has them")
    options = parser.parse_args(arguments)
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        count = write(options.folder, options.pages, options.fonts)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    except ModuleNotFoundError as error:
        parser.error(missing(error, "train"))
    say(f"{options.folder}/questions.jsonl: {count} questions", sys.stdout)


def write(folder: Path, pages: int, fonts: Path | None = None) -> int:
    """Writes so many pages of each kind; returns how many questions there are about them.

    Raises ValueError if `fonts` holds no faces.
    """
    from jobs.nano.synthetic.layout import Exchange, Source  # needs packages of the [train] extra, as does
    from jobs.nano.synthetic.scenes import KINDS, Scene, draw

    ending = question_prompt("")
    unseen = Source(fonts=fonts, unseen_faces=True, unseen_wordings=True)
    rows = []
    for kind in KINDS:
        random.seed(f"held out: {kind}")
        for page in range(pages):
            free: list[Exchange] = []
            while not free:  # some pages are only to be transcribed
                drawn = draw(Scene(pixels=None, mix={kind: 1}, max_side=1024, source=unseen)).page
                free = [one for one in drawn.exchanges if one.prompt.endswith(ending)]
            name = f"{kind}-{page}.pdf"
            (folder / name).write_bytes(drawn.sheet.pdf())
            rows += [
                {
                    "id": f"{kind}-{page}-{number}",
                    "document": name,
                    "page": 1,
                    "question": one.prompt.removesuffix(ending),
                    "answers": [one.answer],
                    "metric": "strict_match",
                    "kind": kind,
                }
                for number, one in enumerate(free[:QUESTIONS])
            ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return len(rows)


if __name__ == "__main__":
    main()
