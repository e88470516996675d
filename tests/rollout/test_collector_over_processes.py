"""The collector over two gloo processes: what really travels between ranks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist
import torch.multiprocessing as mp

from nemo_prorl.config.sampling_budget import SamplingBudgetConfig
from nemo_prorl.errors import PeerLostError
from nemo_prorl.rollout.collector import Collector
from nemo_prorl.rollout.scripted_engine import ScriptedEngine
from nemo_prorl.world import LocalWorld, TorchWorld, World
from tests.rollout.stand_ins import InlinePool, NumberedPrompts, byte_tokenizer, stage


def half_teach(prompt, sample):
    return str(int(prompt.uid) % 2 * int(sample == 0))


def breaks_on_rank_1(prompt, sample):
    if prompt.uid == "1":
        raise RuntimeError("out of memory")
    return half_teach(prompt, sample)


def collect(world: World, answer, step: int = 0):
    collecting = Collector(
        engine=ScriptedEngine(None, byte_tokenizer(), answer=answer, logprob=-1.5),
        pool=InlinePool(),
        mixture=NumberedPrompts(),
        world=world,
        budget=SamplingBudgetConfig(),
        run_seed=0,
    )
    return collecting.collect(stage(prompts=8, update=4), step)


def one_rank(rank: int, folder: str) -> None:
    """Writes what this rank got to keep, and how it ended when rank 1 broke."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    world = TorchWorld(data_rank=rank, data_size=2)
    groups = collect(world, half_teach).groups
    tokens = [[completion.token_ids.tolist() for completion in group.completions] for group in groups]
    logprobs = {
        float(x) for group in groups for completion in group.completions for x in np.unique(completion.logprobs)
    }
    try:
        error = None
        collect(world, breaks_on_rank_1)
    except Exception as raised:
        error = [type(raised).__name__, str(raised)]
    found = {"uids": [g.prompt.uid for g in groups], "tokens": tokens, "logprobs": list(logprobs), "error": error}
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.mark.processes
def test_two_processes_keep_what_one_keeps_and_stop_together(tmp_path):
    mp.spawn(one_rank, args=(str(tmp_path),), nprocs=2)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    alone = collect(LocalWorld(), half_teach).groups
    # Updates of 4, all groups equally long: ranks take turns.
    assert [group.prompt.uid for group in alone] == ["1", "3", "5", "7", "9", "11", "13", "15"]
    assert (first["uids"], second["uids"]) == (["1", "5", "9", "13"], ["3", "7", "11", "15"])
    expected = {
        group.prompt.uid: [completion.token_ids.tolist() for completion in group.completions] for group in alone
    }
    for rank in (first, second):
        assert rank["tokens"] == [expected[uid] for uid in rank["uids"]]
        assert rank["logprobs"] == [-1.5]
    assert second["error"] == ["RuntimeError", "out of memory"]
    assert first["error"][0] == PeerLostError.__name__
    assert "rank 1 failed while sampling" in first["error"][1] and "out of memory" in first["error"][1]
