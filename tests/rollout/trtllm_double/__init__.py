"""A contract double of TensorRT-LLM: a small real module that keeps to what is on record of the library.

Under `library/` lies a package called `tensorrt_llm` with the recorded names, signatures and defaults
(tests/cases/trtllm/contract.json; test_trtllm_double.py compares them) around a tiny transformers model on CPU. It has
the recorded traps: unknown arguments raise, without sampling parameters it is greedy, unknown weights are skipped in
silence, and so on. Where the library would hang or write past its memory, the double raises an error.

It is no TensorRT-LLM: it shows that the adapter keeps to the record, not that the record is right.

    with doubled("1.2.1"):      # or "1.3.0rc7", "1.3.0rc21"
        import tensorrt_llm

In other processes: PYTHONPATH=tests/rollout/trtllm_double/library, TRTLLM_DOUBLE_VERSION=1.2.1.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

LIBRARY = Path(__file__).parent / "library"
VERSION = "TRTLLM_DOUBLE_VERSION"
VERSIONS = ("1.2.1", "1.3.0rc7", "1.3.0rc21")


@contextmanager
def installed(version: str = VERSIONS[0]) -> Iterator[None]:
    """Inside, the double can be imported; the environment is as before afterwards."""
    before = dict(os.environ)
    _forget()
    sys.path.insert(0, str(LIBRARY))
    os.environ[VERSION] = version
    try:
        yield
    finally:
        sys.path.remove(str(LIBRARY))
        os.environ.clear()
        os.environ.update(before)
        _forget()


@contextmanager
def doubled(version: str = VERSIONS[0]) -> Iterator[ModuleType]:
    """Inside, `import tensorrt_llm` gives the double, freshly imported, whose LLMs run in this process."""
    with installed(version):
        os.environ["TLLM_WORKER_USE_SINGLE_PROCESS"] = "1"
        yield importlib.import_module("tensorrt_llm")


def environment_of_double(version: str = VERSIONS[0]) -> dict[str, str]:
    """What another process needs to find the double."""
    paths = [str(LIBRARY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), VERSION: version}


def _forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorrt_llm"]:
        del sys.modules[name]
