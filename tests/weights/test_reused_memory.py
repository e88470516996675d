from __future__ import annotations

import threading

import torch

from nemo_prorl.weights.reused_memory import ReusedMemory


def round_of(memory: ReusedMemory, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    memory.begin()
    return [memory.empty(shape, torch.bfloat16).fill_(number) for number, shape in enumerate(shapes, 1)]


def test_tensors_of_one_round_do_not_overlap_and_the_next_round_lies_where_they_lay() -> None:
    memory = ReusedMemory()
    round_of(memory, (3, 5), (7,))  # finds nothing, and says how much is needed
    first = round_of(memory, (3, 5), (7,))
    assert [tensor.tolist() for tensor in first] == [[[1.0] * 5] * 3, [2.0] * 7]
    second = round_of(memory, (3, 5), (7,))
    assert [tensor.data_ptr() for tensor in second] == [tensor.data_ptr() for tensor in first]
    assert all(tensor.is_contiguous() and tensor.data_ptr() % 64 == 0 for tensor in second)


def test_it_grows_to_the_largest_round() -> None:
    memory = ReusedMemory()
    round_of(memory, (4,))
    larger = round_of(memory, (4,), (1000, 3))
    assert [tensor.float().mean().item() for tensor in larger] == [1.0, 2.0]
    again = round_of(memory, (4,), (1000, 3))
    assert again[1].data_ptr() - again[0].data_ptr() == 64  # both in the same memory now


def test_threads_do_not_share_it() -> None:
    memory, theirs = ReusedMemory(), []
    round_of(memory, (8,))
    ours = round_of(memory, (8,))

    def other() -> None:
        round_of(memory, (8,))
        theirs.extend(round_of(memory, (8,)))
        theirs[0].fill_(9)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(60)
    assert theirs[0].data_ptr() != ours[0].data_ptr() and ours[0].tolist() == [1.0] * 8
