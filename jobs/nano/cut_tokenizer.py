"""Cuts a published tekken.json to its first ranks: how `model/nano/tekken.json` was made.

python -m jobs.nano.cut_tokenizer tekken_240911.json model/nano/tekken.json --ranks 2048

`tekken_240911.json` is the tokenizer of Pixtral-12B-2409; mistral-common's wheel ships it, under `data/`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.run.terminal import say
from model.text.tokenizer import Tokenizer, shrink_tekken


def main(arguments: Sequence[str] | None = None) -> None:
    """Read and check the source, write the cut."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.nano.cut_tokenizer",
        description="Cut a published tekken.json to its first ranks.",
    )
    parser.add_argument("source", type=Path, help="the published tekken.json")
    parser.add_argument("output", type=Path, help="the file to write")
    parser.add_argument(
        "--ranks", type=int, required=True, help="how many ranks stay (all control tokens do)"
    )
    options = parser.parse_args(arguments)
    try:
        Tokenizer.from_file(options.source)  # a file that is not a tokenizer is refused here
        cut = shrink_tekken(json.loads(options.source.read_text("utf-8")), options.ranks)
        # One entry a line: small, and still a diff that a person can read.
        text = json.dumps(cut, separators=(",", ":")).replace('{"rank"', '\n{"rank"')
        options.output.write_text(text + "\n", "utf-8")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    say(f"{options.output}: {cut['config']['default_vocab_size']} ids", sys.stdout)


if __name__ == "__main__":
    main()
