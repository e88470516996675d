"""What TensorRT-LLM reads from the environment, of which most is read once, when it is imported.

Importing it begins MPI. In a process that a launcher has made part of an MPI job, the library would take the job's size
for its own and wait for the other ranks; so while it is imported and started, nothing of the launcher is to be seen,
and each process is an MPI job of its own. As such it takes the first GPU that it sees: it must see one alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path

from nemo_prorl.data.kept import cache_folder
from nemo_prorl.errors import ConfigError, RolloutError
from nemo_prorl.world import local_rank_from_environment

IN_PROCESS = "TLLM_WORKER_USE_SINGLE_PROCESS"
LOADS_ONE_BY_ONE = "TRT_LLM_DISABLE_LOAD_WEIGHTS_IN_PARALLEL"  # on the caller's stream
VISIBLE = "CUDA_VISIBLE_DEVICES"
# Folders of kernels that are compiled at first use: ranks of a host would write the same files at the same time.
CACHES = ("FLASHINFER_WORKSPACE_BASE", "TRTLLM_DG_CACHE_DIR")

LAUNCHERS = ("PMI", "PMIX", "OMPI", "MPI", "PRTE", "SLURM")
MISLEADING = ("TLLM_DISABLE_MPI", "RAY_LOCAL_WORLD_SIZE")  # the one asks for Ray, the other for more than one GPU


def lasting(environment: Mapping[str, str]) -> dict[str, str]:
    """What this process's environment needs for good, before CUDA begins in it.

    Raises:
        ConfigError: fewer GPUs are visible than the host has ranks.
    """
    local_rank = local_rank_from_environment(environment)
    caches = {name: _of_rank(environment.get(name) or str(cache_folder(name.lower())), local_rank) for name in CACHES}
    return {IN_PROCESS: "1", LOADS_ONE_BY_ONE: "1", VISIBLE: _one_gpu(environment.get(VISIBLE), local_rank), **caches}


def hidden(environment: Mapping[str, str]) -> list[str]:
    """Names that must not be seen while the library is imported and started."""
    prefixes = tuple(f"{launcher}_" for launcher in LAUNCHERS)
    return sorted(name for name in environment if name.startswith(prefixes) or name in MISLEADING)


@contextmanager
def alone(environment: MutableMapping[str, str] = os.environ) -> Iterator[None]:
    """Inside, the process is no part of any launcher's job. Afterwards all is as before: a run reads its rank and the
    end of its Slurm job there."""
    away = {name: environment.pop(name) for name in hidden(environment)}
    try:
        yield
    finally:
        environment.update(away)


def check_one_gpu(count: int) -> None:
    """`count`: GPUs that this process sees.

    Raises:
        RolloutError: they are several, so the variable came too late: CUDA reads it once, when it begins.
    """
    if count > 1:
        raise RolloutError(
            f"rollout=tensorrt_llm: this process sees {count} GPUs and would take the first, as every rank of its host "
            f"does. CUDA began in it before {VISIBLE} could be set; set it where ranks are started, to one GPU for "
            "each (srun --gpus-per-task=1, or a script that exports it by LOCAL_RANK)"
        )


def prepare(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what lasts. A second call changes nothing."""
    environment.update(lasting(environment))


def _one_gpu(visible: str | None, local_rank: int) -> str:
    """
    >>> _one_gpu(None, 3), _one_gpu("4,5,6,7", 3), _one_gpu("7", 3)
    ('3', '7', '7')
    """
    if visible is None:
        return str(local_rank)
    gpus = [gpu.strip() for gpu in visible.split(",")]
    if len(gpus) == 1:
        return visible
    if local_rank >= len(gpus):
        raise ConfigError(
            f"{VISIBLE}={visible} shows {len(gpus)} GPUs, and this is rank {local_rank} of its host, counted from 0: "
            "rollout=tensorrt_llm needs a GPU for each rank; start fewer ranks, or show more"
        )
    return gpus[local_rank]


def _of_rank(folder: str, local_rank: int) -> str:
    own = f"rank_{local_rank}"
    return folder if Path(folder).name == own else str(Path(folder) / own)
