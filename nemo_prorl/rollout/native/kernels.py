"""kernels.c, compiled for this processor when it is first asked for, and callable with tensors.

Compiling takes a second and leaves nothing behind: no file is kept that another machine, compiler or user might load.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from nemo_prorl.errors import RolloutError

SOURCE = Path(__file__).with_name("kernels.c")
FLAGS = ("-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
COMPILERS = ("cc", "gcc", "clang", sysconfig.get_config_var("CC"))
LANES, PANEL = 16, 32  # as in kernels.c
WORTH_A_THREAD = 1 << 26  # multiply-adds, most of a millisecond: starting a thread costs a twentieth of it

_INT, _FLOAT, _POINTER = ctypes.c_int64, ctypes.c_float, ctypes.c_void_p
_ARGUMENTS = {
    "product": [_POINTER] * 4 + [_INT] * 3 + [ctypes.c_int, _INT, _INT],
    "rms_norm": [_POINTER, _POINTER, _POINTER, _INT, _INT, _FLOAT],
    "swiglu": [_POINTER, _POINTER, _INT, _INT],
    "rotate": [_POINTER, _POINTER, _POINTER, _INT, _INT, _INT, _INT, _FLOAT],
    "attend": [_POINTER] * 7,
    "draw": [_POINTER, _POINTER, _INT, _INT, _FLOAT, _POINTER, _POINTER, _POINTER],
}


class Step(ctypes.Structure):
    """As in kernels.c."""

    _fields_ = (
        *((name, _INT) for name in ("B", "K", "Q", "D", "DP", "columns")),
        *((name, _POINTER) for name in ("row", "length", "prompt_length", "scores", "sums")),
    )


class Kernels:
    """The functions of kernels.c. Tensors must be contiguous and float32; nothing checks that at every token."""

    def __init__(self, library: ctypes.CDLL) -> None:
        for name, arguments in _ARGUMENTS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, None
        self._c = library
        self._pool: ThreadPoolExecutor | None = None

    def product(
        self, x: Tensor, packed: Tensor, columns: int, bias: Tensor | None = None, out: Tensor | None = None
    ) -> Tensor:
        """x [T, K] times W' plus the bias, [T, `columns`], or that added to `out`; `packed` is what `pack` made of W.

        Large products are shared out over as many threads as torch may use.
        """
        rows, inner = x.shape
        adds = out is not None
        made = x.new_empty(rows, columns) if out is None else out
        pointers = (x.data_ptr(), packed.data_ptr(), _address(bias), made.data_ptr())
        panels, parts = len(packed), max(1, min(torch.get_num_threads(), rows * inner * columns // WORTH_A_THREAD))
        ends = [panels * part // parts for part in range(parts + 1)]
        if parts == 1:
            self._c.product(*pointers, rows, inner, columns, adds, 0, panels)
            return made
        if self._pool is None:
            self._pool = ThreadPoolExecutor(thread_name_prefix="rollout")
        for done in [
            self._pool.submit(self._c.product, *pointers, rows, inner, columns, adds, *part) for part in pairwise(ends)
        ]:
            done.result()
        return made

    def rms_norm(self, x: Tensor, eps: float, weight: Tensor | None = None) -> Tensor:
        """x over the root mean square of its last axis, times `weight` [H] if given; x is [T, H]."""
        out = torch.empty_like(x)
        self._c.rms_norm(x.data_ptr(), _address(weight), out.data_ptr(), *x.shape, eps)
        return out

    def swiglu(self, gate_up: Tensor) -> Tensor:
        """silu(gate) x up of [T, 2F]: [T, F]."""
        rows, width = len(gate_up), gate_up.shape[1] // 2
        out = gate_up.new_empty(rows, width)
        self._c.swiglu(gate_up.data_ptr(), out.data_ptr(), rows, width)
        return out

    def rotate(self, qkv: Tensor, turn_TD: Tensor, heads: int, head_norm: Tensor | None, eps: float) -> None:
        """Give the first `heads` heads of `qkv` [T, *] their positions, in place, after their norm if there is one.

        `turn_TD` has the cosines of D/2 angles and then their sines.
        """
        rows, width = qkv.shape
        pointers = (qkv.data_ptr(), turn_TD.data_ptr(), _address(head_norm))
        self._c.rotate(*pointers, rows, width, heads, turn_TD.shape[1], eps)

    def attend(
        self,
        step: Step,
        qkv: Tensor,
        keys: Tensor,
        values: Tensor,
        prompt_keys: int,
        prompt_values: int,
    ) -> Tensor:
        """Store a token's keys and values for every row of the step and read what its queries ask for, [B, K x Q x D].

        `prompt_keys` and `prompt_values` are addresses of arrays of addresses.
        """
        out = qkv.new_empty(step.B, step.K * step.Q * step.D)
        pointers = (ctypes.addressof(step), qkv.data_ptr(), keys.data_ptr(), values.data_ptr())
        self._c.attend(*pointers, prompt_keys, prompt_values, out.data_ptr())
        return out

    def draw(self, logits_BV: Tensor, uniform_B: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """As `token_draw.draw_tokens` with a temperature above 0 and nothing cut off."""
        B, V = logits_BV.shape
        weights, token_B, logprob_B = logits_BV.new_empty(V), torch.empty(B, dtype=torch.int64), logits_BV.new_empty(B)
        given, made = (logits_BV, uniform_B), (weights, token_B, logprob_B)
        pointers = [[tensor.data_ptr() for tensor in tensors] for tensors in (given, made)]
        self._c.draw(*pointers[0], B, V, 1 / temperature, *pointers[1])
        return token_B, logprob_B


@cache
def compiled() -> Kernels:
    """The kernels, compiled once a process by the first of $CC and `COMPILERS` that can.

    Raises:
        RolloutError: no C compiler is there, or none that can compile them; it says what was tried.
    """
    failures = []
    with tempfile.TemporaryDirectory(prefix="nemo_prorl_") as folder:
        library = Path(folder) / "kernels.so"
        for compiler in dict.fromkeys(filter(None, (os.environ.get("CC"), *COMPILERS))):
            for tuned in ("-march=native", "-mcpu=native"):  # the second where the first isn't known: ARM
                command = [*shlex.split(compiler), *FLAGS, tuned, "-o", str(library), str(SOURCE), "-lm"]
                try:
                    subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
                    return Kernels(ctypes.CDLL(str(library)))
                except (OSError, subprocess.SubprocessError) as error:
                    said = str(getattr(error, "stderr", None) or error).strip()
                    failures.append(f"{compiler} {tuned}: {said.splitlines()[0] if said else 'failed'}")
    raise RolloutError(
        f"the native rollout engine needs a C compiler and found none that works ({'; '.join(failures)}). Install gcc "
        "or clang, name one in $CC, or choose rollout=transformers."
    )


def pack(weight: Tensor) -> Tensor:
    """[N, K] -> [N/32, K, 32], as `Kernels.product` reads it."""
    rows, columns = weight.shape
    padded = functional.pad(weight, (0, 0, 0, -rows % PANEL))
    return padded.view(-1, PANEL, columns).transpose(1, 2).contiguous()


def whole_vectors(count: int) -> int:
    """`count` rounded up to a multiple of 16."""
    return -(-count // LANES) * LANES


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
