"""How a branch's tokens are chosen: its temperature, its seed, and the numbers that it draws. No torch."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How a branch's tokens are chosen."""

    temperature: float = 0.0
    """0: the likeliest token."""
    top_p: float = 1.0
    """Draw among the likeliest tokens that together have this probability, at least among one."""
    seed: int = 0
    """Seed of the draws."""
    ignore_eos: bool = False
    """Write on after the end of sequence, so that all answers have their full length: for benchmarks."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}: it must be 0 or more, and finite")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}: it must be above 0, and 1 at most")

    def draw(self, index: int) -> float:
        """The uniform number in [0, 1) that chooses the answer's token `index`."""
        digest = hashlib.blake2b(f"{self.seed}/{index}".encode(), digest_size=8).digest()
        return (int.from_bytes(digest, "little") >> 11) / 2**53
