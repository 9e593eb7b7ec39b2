"""A file that is attached to a document, as the sandbox sees it: its name, and what reads its bytes."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class File:
    """An attached file."""

    name: str
    is_mail: bool
    """Whether it is an e-mail, whatever its first lines are."""
    read: Callable[[int], bytes]
    """At most so many of its bytes, from its start. Raises DocumentError: damaged."""
