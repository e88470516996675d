"""What ranks ask of each other: alone, and as real gloo processes."""

from __future__ import annotations

import pytest

from nemo_prorl.errors import DataError, Stopped, TrainingError
from nemo_prorl.world import LocalWorld, TorchWorld, gather_or_raise, gather_over_data
from tests.processes import run_ranks


def test_alone_a_rank_gets_back_what_it_gives():
    world = LocalWorld()
    assert world.gather(3) == [3]
    assert world.broadcast("x") == "x"
    assert world.share_out({1: "a", 2: "b"}, [2, 1]) == ["b", "a"]


def test_an_item_that_nobody_holds_is_an_error():
    with pytest.raises(TrainingError, match="item 7"):
        LocalWorld().share_out({1: "a"}, [7])


def test_alone_a_failure_is_raised_as_it_is():
    error = DataError("row 3 is odd")
    with pytest.raises(DataError, match="row 3 is odd"):
        gather_or_raise(LocalWorld(), 1, error, "testing")


def talk(_: str) -> dict[str, object]:
    """What every rank of a small world sees; their data ranks are the other way around."""
    import torch.distributed as dist

    dist.init_process_group("gloo")
    world = TorchWorld(data_rank=1 - dist.get_rank(), data_size=dist.get_world_size())
    held = {world.rank: f"of rank {world.rank}", world.rank + 10: "spare"}
    seen: dict[str, object] = {
        "gathered": world.gather(world.rank),
        "broadcast": world.broadcast(f"from {world.rank}"),
        "shared": world.share_out(held, [1 - world.rank]),
        "largest": world.begin_maximum([world.rank, 5 - world.rank, 3]).result(),
        "by data rank": gather_over_data(world, f"of data rank {world.data_rank}"),
    }
    ours: list[Exception | None] = [DataError("my own"), None]
    a_bug: list[Exception | None] = [ValueError("a bug"), None]
    stopped: list[Exception | None] = [DataError("my own"), Stopped("SIGTERM")]
    for name, failures in (("raised", ours), ("bug", a_bug), ("stopped", stopped)):
        try:
            gather_or_raise(world, None, failures[world.rank], "testing")
        except Exception as error:
            seen[name] = f"{type(error).__name__}: {error}"
    dist.destroy_process_group()
    return seen


@pytest.mark.processes
def test_two_ranks_share_and_stop_together():
    first, second = run_ranks(talk, 2, "")
    assert first["gathered"] == second["gathered"] == [0, 1]
    assert first["broadcast"] == second["broadcast"] == "from 0"
    assert first["shared"] == ["of rank 1"] and second["shared"] == ["of rank 0"]
    assert first["largest"] == second["largest"] == [1, 5, 3]
    assert first["by data rank"] == second["by data rank"] == ["of data rank 0", "of data rank 1"]
    assert first["bug"] == "ValueError: a bug"
    assert second["bug"] == "PeerLostError: rank 0 failed while testing, so every rank stops. ValueError: a bug"
    assert first["stopped"] == second["stopped"] == "Stopped: SIGTERM"
    assert first["raised"] == "DataError: my own"
    assert second["raised"] == "DataError: rank 0 failed while testing, so every rank stops. DataError: my own"
