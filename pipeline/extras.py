"""The sentence for a package that only an extra of the project brings."""

import sys


def missing(error: ModuleNotFoundError, extra: str) -> str:
    """Names the package, the extra, and the command that installs it."""
    return (
        f"{error.name} is not installed. It comes with an extra: {sys.executable} -m pip install '.[{extra}]'"
    )
