"""Ranks find each other, or say what is missing; one process needs nothing."""

import pytest
import torch

from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.errors import ConfigError
from nemo_prorl.megatron.reach import all_reduce_once
from nemo_prorl.megatron.runtime import Runtime
from tests.megatron import runtime_scenarios as scenarios
from tests.processes import RankFailed, free_port, run_ranks

pytestmark = pytest.mark.processes


def test_ranks_know_each_other():
    ranks = run_ranks(scenarios.hello, 2)
    for number, rank in enumerate(ranks):
        assert rank["rank"] == (number, 2, number, 2, number == 0)
        assert rank["gathered"] == [0, 10]
        assert rank["broadcast"] == "from 0"
        assert rank["shared"] == ["item 1", "item 0"]
        assert rank["device"] == "cpu"


def test_one_process_needs_no_environment_and_can_start_again():
    assert run_ranks(scenarios.twice, 1) == [[1, 1]]


def test_srun_tells_the_ranks_too():
    environment = {
        "SLURM_PROCID": "0",
        "SLURM_NTASKS": "1",
        "SLURM_LOCALID": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    assert run_ranks(scenarios.started_with, 1, environment, {}) == [(0, 1)]


def test_a_rank_that_can_not_find_the_others_says_what_is_missing():
    environment = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    (message,) = run_ranks(scenarios.started_with, 1, environment, {})
    assert "MASTER_PORT" in message
    assert "torchrun" in message


def test_whoever_looks_whether_ranks_reach_each_other_is_told_the_same(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(ConfigError, match="rank 0 of 2 can't find the others: MASTER_PORT not set"):
        all_reduce_once("cpu", 5.0)


def test_cuda_that_is_not_there_is_refused():
    (message,) = run_ranks(scenarios.started_with, 1, {}, {"device": "cuda"})
    assert "megatron.device=cuda" in message


def test_a_rank_more_than_there_are_gpus_is_told_how_many_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("RANK", "6")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match=r"rank 6 is number 2 of its host, .* torch sees 2 GPUs: .*-node 2"):
        Runtime.start(MegatronConfig(), seed=0, torch_threads=1)


def test_an_error_in_one_rank_is_told_with_its_traceback():
    with pytest.raises(RankFailed, match=r"(?s)rank 0 of 1 failed.*KeyError.*RANKS"):
        run_ranks(scenarios.fails, 1)


def test_every_process_group_has_the_time_limit():
    settings = {"collective_timeout_minutes": 7.5, "tensor_parallel_size": 2}
    assert run_ranks(scenarios.time_limits, 2, settings) == [{7.5}, {7.5}]
