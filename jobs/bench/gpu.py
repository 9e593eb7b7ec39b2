"""A GPU at work: its power, its clock, the seconds of each kernel; and the speed of its matrix products."""

import threading
import time
from collections.abc import Callable

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]  # documented there, but not exported


def matmul_ceiling(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """TFLOP/s of 8192 x 8192 products of normal numbers, after they have run for a while."""
    a, b = (torch.randn(8192, 8192, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    torch.mm(a, b, out=out)
    torch.cuda.synchronize()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for _ in range(16):
            torch.mm(a, b, out=out)
        torch.cuda.synchronize()
        count += 16
    return count * 2 * 8192**3 / (time.perf_counter() - started) / 1e12


def kernel_times(work: Callable[[], object]) -> list[tuple[str, float]]:
    """Seconds of each kernel while `work` runs, the longest first; last, the seconds without a kernel."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CUDA], acc_events=True
    ) as profiler:
        work()
    spans = sorted(
        (event.time_range.start, event.time_range.end, event.name)
        for event in profiler.events() or ()
        if event.device_type == DeviceType.CUDA
    )
    totals: dict[str, float] = {}
    idle, end = 0.0, spans[0][0]
    for start, stop, name in spans:
        idle += max(0.0, start - end)
        end = max(end, stop)
        totals[name] = totals.get(name, 0.0) + stop - start
    rows = sorted(totals.items(), key=lambda item: -item[1])
    return [(name, total / 1e6) for name, total in [*rows, ("nothing", idle)]]  # from microseconds


class Monitor:
    """Power and clock of the first GPU, ten times a second; nothing where there is none."""

    def __init__(self) -> None:
        self._read: Callable[[], tuple[float, float]] | None = None
        self._samples: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Monitor":
        if torch.cuda.is_available():
            self._read = lambda: (torch.cuda.power_draw() / 1e3, float(torch.cuda.clock_rate()))
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        assert self._read is not None
        while not self._stop.wait(0.1):
            self._samples.append(self._read())

    def means(self) -> tuple[float | None, float | None]:
        """Watts and megahertz."""
        if not self._samples:
            return None, None
        watts, megahertz = zip(*self._samples, strict=True)
        return sum(watts) / len(watts), sum(megahertz) / len(megahertz)
