"""Time, memory and the most that can be had, of whatever device a case runs on."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from benchmarks.measure import forget_peak, peak_bytes, resident_bytes
from nemo_prorl.megatron.chips import CHIPS, Chip, chip_named


class Meter:
    """Clocks work and its memory from now on: on a GPU what torch allocates, on a CPU what is resident of the process.

    `bytes_before` is what was there already; on a CPU the peak counts from the process with its libraries.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._is_gpu = device, device.type == "cuda"
        if self._is_gpu:
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            self.bytes_before = float(torch.cuda.memory_allocated(device))
            self._libraries = 0
        else:
            forget_peak()
            self._libraries = resident_bytes()
            self.bytes_before = 0.0

    def seconds(self, work: Callable[[], object]) -> float:
        """Of one call, to the end of what it has started on the device."""
        self._wait()
        begun = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - begun

    def peak_bytes(self) -> float:
        """The most there was at a time."""
        if self._is_gpu:
            return float(torch.cuda.max_memory_allocated(self._device))
        return float(peak_bytes() - self._libraries)

    def _wait(self) -> None:
        if self._is_gpu:
            torch.cuda.synchronize(self._device)


def chip_of(device: torch.device) -> Chip | None:
    """The GPU's figures, where it is one that is known."""
    name = chip_named(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return None if name is None else CHIPS[name]


def best_flops(device: torch.device, precision: str) -> tuple[float, bool]:
    """Operations a second, and whether the maker says so; else those of a large product here.

    FP8 is measured by bf16's, so that one figure compares with the other; fp32 by a large product, since what the maker
    says of it leaves open which of two ways torch takes.
    """
    chip = chip_of(device)
    if chip is not None and precision != "fp32":
        return chip.bf16_flops, True
    size = 4096 if device.type == "cuda" else 512
    square = torch.ones(size, size, device=device, dtype=torch.float32 if precision == "fp32" else torch.bfloat16)
    square @ square
    meter = Meter(device)
    return 2.0 * size**3 / min(meter.seconds(lambda: square @ square) for _ in range(5)), False
