"""Who may come in: places for answers, and bytes that are held for them. Beyond either a client is told to
come again, before anything is read of its request.

Everything is called in one event loop.
"""

from types import TracebackType
from typing import Self

from jobs.serving.errors import busy, refused


class Admission:
    """Counts what the requests in work take."""

    def __init__(self, *, places: int, most_bytes: int) -> None:
        self.places = places
        self.most_bytes = most_bytes
        self.taken = 0
        """Places that requests have."""
        self.held = 0
        """Bytes of bodies and pixels that are in memory."""

    def enter(self) -> "Ticket":
        """A place for a request with one answer. Raises ApiError 429."""
        return Ticket(self)


class Ticket:
    """What one request takes, until its `with` block ends."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._places = self._bytes = 0
        self.want_places(1)

    def want_places(self, count: int) -> None:
        """As many in all. Raises ApiError 429, or 400 for more than there are."""
        admission = self._admission
        if count > admission.places:
            raise refused(f"the request asks for {count} answers, and the limit is {admission.places}", "n")
        more = count - self._places
        if admission.taken + more > admission.places:
            raise busy(
                f"{admission.taken} answers are in work, the limit is {admission.places}: come again in a "
                "moment"
            )
        admission.taken += more
        self._places = count

    def want_bytes(self, count: int) -> None:
        """As many in all. Raises ApiError 429."""
        admission = self._admission
        more = count - self._bytes
        if more > 0 and admission.held + more > admission.most_bytes:
            raise busy(
                f"the requests in work hold {admission.held >> 20} MiB, and the limit is "
                f"{admission.most_bytes >> 20}: come again in a moment"
            )
        admission.held += more
        self._bytes = count

    def leave(self) -> None:
        """Gives all of it back."""
        self._admission.taken -= self._places
        self._admission.held -= self._bytes
        self._places = self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
