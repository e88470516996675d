"""What must hold in a process before TensorRT-LLM is imported in it."""

import importlib

import pytest

from nemo_prorl.errors import ConfigError, RolloutError
from nemo_prorl.rollout.tensorrt_llm.environment import alone, check_one_gpu, hidden, lasting, prepare
from nemo_prorl.rollout.tensorrt_llm.library import Library
from tests.rollout.trtllm_double import doubled, installed

SLURM = {"SLURM_PROCID": "3", "SLURM_LOCALID": "3", "SLURM_JOB_END_TIME": "1900000000", "PMIX_RANK": "3", "HOME": "/h"}


def test_each_rank_of_a_host_sees_its_own_gpu():
    assert lasting({"LOCAL_RANK": "2"})["CUDA_VISIBLE_DEVICES"] == "2"
    assert lasting({"LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "6, 7"})["CUDA_VISIBLE_DEVICES"] == "7"
    assert lasting({"LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "GPU-a1,GPU-b2"})["CUDA_VISIBLE_DEVICES"] == "GPU-b2"


def test_a_gpu_that_a_launcher_has_chosen_stays():
    assert lasting({"LOCAL_RANK": "5", "CUDA_VISIBLE_DEVICES": "3"})["CUDA_VISIBLE_DEVICES"] == "3"


def test_more_ranks_than_gpus_are_refused_with_numbers():
    with pytest.raises(ConfigError, match=r"shows 2 GPUs, and this is rank 2 .*start fewer ranks"):
        lasting({"LOCAL_RANK": "2", "CUDA_VISIBLE_DEVICES": "0,1"})


def test_a_process_that_sees_several_gpus_all_the_same_is_refused():
    """CUDA reads the variable once: something may have begun it before."""
    check_one_gpu(0)
    check_one_gpu(1)
    with pytest.raises(RolloutError, match=r"sees 8 GPUs.*CUDA began in it before.*srun --gpus-per-task=1"):
        check_one_gpu(8)


def test_ranks_compile_kernels_into_folders_of_their_own():
    """At first use each rank of a host would write the same files otherwise."""
    first, second = (lasting({"LOCAL_RANK": rank, "FLASHINFER_WORKSPACE_BASE": "/fast"}) for rank in "01")
    assert first["FLASHINFER_WORKSPACE_BASE"] == "/fast/rank_0"
    assert second["FLASHINFER_WORKSPACE_BASE"] == "/fast/rank_1"
    assert first["TRTLLM_DG_CACHE_DIR"] != second["TRTLLM_DG_CACHE_DIR"]


def test_preparing_twice_is_preparing_once():
    once = {"LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "4,5"}
    prepare(once)
    twice = dict(once)
    prepare(twice)
    assert twice == once


def test_launchers_are_hidden_for_the_import_alone():
    """Afterwards a run reads its rank and the end of its Slurm job there again."""
    environment = dict(SLURM)
    with alone(environment):
        assert environment == {"HOME": "/h"}
        assert hidden(environment) == []
    assert environment == SLURM


def test_what_was_hidden_comes_back_after_an_error():
    environment = dict(SLURM)
    with pytest.raises(ZeroDivisionError), alone(environment):
        _ = 1 // 0
    assert environment == SLURM


def test_a_rank_of_a_slurm_job_can_import_it(monkeypatch):
    """By itself it can't: importing begins MPI, which waits for the other ranks."""
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    with installed():
        with pytest.raises(RuntimeError, match="MPI_Init"):
            importlib.import_module("tensorrt_llm")
        assert Library.load().version == "1.2.1"


def test_a_worker_in_another_process_is_refused(folder, monkeypatch):
    """The variable is read once, so it is too late when something else has made an LLM before."""
    with doubled() as library:
        monkeypatch.setenv("TLLM_WORKER_USE_SINGLE_PROCESS", "0")
        library.LLM(str(folder)).shutdown()
        monkeypatch.setenv("TLLM_WORKER_USE_SINGLE_PROCESS", "1")
        with pytest.raises(RolloutError, match=r"not begun in this process.*read only once"):
            Library.load().start({"model": str(folder)})


def test_the_engine_takes_the_one_gpu_that_its_rank_was_given(folder, tokenizer, monkeypatch):
    """A process that is alone in its MPI job takes the first GPU that it sees: without a choice, all take number 0."""
    from nemo_prorl.rollout.tensorrt_llm.engine import TensorRTLLMEngine

    with doubled() as library:
        monkeypatch.setenv("LOCAL_RANK", "3")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
        everybody = library.LLM(str(folder))
        assert everybody._executor.device == "4"
        engine = TensorRTLLMEngine(folder, tokenizer, dtype="fp32")
        assert engine._llm._executor.device == "7"
        everybody.shutdown()
        engine.close()


def test_without_the_library_the_message_says_where_it_comes_from():
    with pytest.raises(RolloutError, match=r"can't be imported.*nvcr.io/nvidia/tensorrt-llm/release"):
        Library.load()
