"""The command line of a job."""

import argparse
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """argparse, in which a mistake is a ValueError of one sentence, and no flag may be cut short."""

    def __init__(self, job: str, **texts: Any) -> None:
        """`texts` are argparse's: description and epilog, whose lines stay as they are, and usage."""
        super().__init__(
            prog=f"python -m jobs.{job}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **texts,
        )

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} ({self.prog} --help explains)")
