"""A contract double of TensorRT-LLM; see tests/rollout/trtllm_double. It is not TensorRT-LLM."""

import os

from tensorrt_llm import version

__version__ = version.NAME

# Importing the library begins MPI, with a collective call. As a part of a launcher's job it waits there for all other
# ranks, or takes their number for its own; a double that hangs helps nobody.
_LAUNCHED = [name for name in os.environ if name.startswith(("PMI_", "PMIX_", "OMPI_", "MPI_", "SLURM_"))]
if _LAUNCHED:
    raise RuntimeError(f"MPI_Init: this process is part of a launcher's job ({_LAUNCHED[0]}) and would wait for it")
if os.environ.get("TLLM_DISABLE_MPI") == "1":
    raise RuntimeError("TLLM_DISABLE_MPI=1 makes every LLM one of Ray's")

from tensorrt_llm.llm import LLM  # noqa: E402
from tensorrt_llm.sampling_params import SamplingParams  # noqa: E402

__all__ = ["LLM", "SamplingParams"]
