"""A user's own target, as the tests of the job name it: tests.jobs.targets:Slip."""

from pydantic import BaseModel, Field

from schemas.targets import Money


class Slip(BaseModel):
    total: Money


class Pair(BaseModel):
    """Has a field that no table can hold."""

    both: tuple[int, int]


class Endless(BaseModel):
    share: float = Field(le=float("inf"))


class Word(BaseModel):
    word: str = Field(pattern=r"\bcopy\b")
