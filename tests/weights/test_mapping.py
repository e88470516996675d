import pytest
import torch

from nemo_prorl.errors import WeightsError
from nemo_prorl.weights.mapping import Copy, FusedGateUp, FusedQKV, Part, RowParallel, Vocabulary, expand


def parts(*tensors):
    return tuple(Part(f"layer.{{layer}}.t{i}", tuple(tensor.shape)) for i, tensor in enumerate(tensors))


def shards(operation, tensors, tp_size, padded_vocab=0):
    return [operation.to_megatron(tensors, rank, tp_size, padded_vocab) for rank in range(tp_size)]


def column(*numbers):
    return torch.tensor(numbers).unsqueeze(1)


def test_qkv_is_stored_by_query_group():
    """4 query heads (rows 0-3) in 2 groups, key heads 10 and 11, value heads 20 and 21, one number a head: group 0 is
    q0 q1 k0 v0, group 1 is q2 q3 k1 v1; with two ranks each holds one group."""
    q, k, v = column(0, 1, 2, 3), column(10, 11), column(20, 21)
    operation = FusedQKV(parts(q, k, v), groups=2)
    assert operation.to_megatron([q, k, v], 0, 1, 0).flatten().tolist() == [0, 1, 10, 20, 2, 3, 11, 21]
    assert [shard.flatten().tolist() for shard in shards(operation, [q, k, v], 2)] == [[0, 1, 10, 20], [2, 3, 11, 21]]


def test_a_head_keeps_its_rows_together():
    """One group of 2 query heads of 2 rows each: q0a q0b q1a q1b, then the key's two rows, then the value's."""
    q, k, v = torch.tensor([0, 1, 2, 3]), torch.tensor([10, 11]), torch.tensor([20, 21])
    operation = FusedQKV(parts(q, k, v), groups=1)
    assert operation.to_megatron([q, k, v], 0, 1, 0).tolist() == [0, 1, 2, 3, 10, 11, 20, 21]


def test_each_rank_stacks_its_gate_on_its_up():
    """gate rows 0-3, up rows 10-13: rank 0 of 2 has gate 0 1 then up 10 11, rank 1 the rest."""
    gate, up = column(0, 1, 2, 3), column(10, 11, 12, 13)
    operation = FusedGateUp(parts(gate, up))
    assert [shard.flatten().tolist() for shard in shards(operation, [gate, up], 2)] == [[0, 1, 10, 11], [2, 3, 12, 13]]


def test_an_output_projection_is_cut_along_its_input():
    matrix = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]])
    assert [s.tolist() for s in shards(RowParallel(parts(matrix)), [matrix], 2)] == [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]


def test_padded_rows_are_zero_on_load_and_absent_on_export():
    """3 rows padded to 8 over 4 ranks: rows 1 2 | 3 0 | 0 0 | 0 0. A trained padding row does not come back."""
    embedding = column(1, 2, 3)
    operation = Vocabulary(parts(embedding))
    pieces = shards(operation, [embedding], 4, padded_vocab=8)
    assert [piece.flatten().tolist() for piece in pieces] == [[1, 2], [3, 0], [0, 0], [0, 0]]
    pieces[3].fill_(9)
    assert operation.to_hf(pieces)[0].flatten().tolist() == [1, 2, 3]


def test_a_norm_is_the_same_on_every_rank():
    weight = torch.tensor([1.0, 2.0])
    assert [shard.tolist() for shard in shards(Copy(parts(weight)), [weight], 3)] == [[1.0, 2.0]] * 3


SHAPES = [  # groups, query heads a group, head size, hidden, ffn, vocabulary
    (4, 1, 2, 8, 12, 5),
    (4, 2, 3, 10, 4, 16),
    (8, 7, 4, 6, 20, 33),
]


@pytest.mark.parametrize("tp_size", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("groups", "per_group", "head", "hidden", "ffn", "vocab"), SHAPES)
def test_there_and_back_changes_no_bit(groups, per_group, head, hidden, ffn, vocab, dtype, tp_size):
    """Random bits, so that not-a-number, infinities and denormals are among the values."""
    integers = {torch.float32: torch.int32, torch.bfloat16: torch.int16}[dtype]

    def bits(*shape):
        limits = torch.iinfo(integers)
        return torch.randint(limits.min, limits.max, shape, dtype=integers).view(dtype)

    query, key = groups * per_group * head, groups * head
    cases = {
        FusedQKV: [bits(query, hidden), bits(key, hidden), bits(key, hidden)],
        FusedGateUp: [bits(ffn, hidden), bits(ffn, hidden)],
        RowParallel: [bits(hidden, query)],
        Vocabulary: [bits(vocab, hidden)],
        Copy: [bits(hidden)],
    }
    biases = FusedQKV, [bits(query), bits(key), bits(key)]
    for kind, tensors in [*cases.items(), biases]:
        operation = kind(parts(*tensors), groups=groups) if kind is FusedQKV else kind(parts(*tensors))
        back = operation.to_hf(shards(operation, tensors, tp_size, padded_vocab=64))
        for before, after in zip(tensors, back, strict=True):
            assert torch.equal(before.view(integers), after.view(integers))


def test_what_cannot_be_cut_equally_is_refused_by_name():
    q, k, v = column(0, 1, 2), column(10), column(20)
    with pytest.raises(WeightsError, match=r"layer\.7\.t0.* 1 can't be cut into 2 equal pieces.*tensor_parallel_size"):
        FusedQKV(parts(q, k, v), groups=1).at_layer(7).to_megatron([q, k, v], 0, 2, 0)


@pytest.mark.parametrize("padded_vocab", [2, 5])
def test_a_padded_vocabulary_that_does_not_fit_is_refused(padded_vocab):
    with pytest.raises(WeightsError, match=f"padded_vocab={padded_vocab} must be a multiple"):
        Vocabulary(parts(column(1, 2, 3))).to_megatron([column(1, 2, 3)], 0, 2, padded_vocab)


def test_layers_are_filled_in_layer_by_layer_between_what_has_none():
    norm, top = Copy((Part("hf.{layer}.norm", (1,)),)), Copy((Part("hf.top", (1,)),))
    table = expand({"first": top, "l.{layer}.a": norm, "l.{layer}.b": norm, "last": top}, num_layers=2)
    assert list(table) == ["first", "l.0.a", "l.0.b", "l.1.a", "l.1.b", "last"]
    assert table["l.1.b"].hf_names == ("hf.1.norm",)


def test_shards_that_lie_one_after_another_are_joined_without_a_copy():
    """As those of a large parameter do once they are gathered; shards that lie apart are copied, to the same values."""
    memory = torch.arange(12.0).view(2, 3, 2)
    operation = Vocabulary((Part("embedding", (5, 2)),))
    (joined,) = operation.to_hf([memory[0], memory[1]])
    assert joined.data_ptr() == memory.data_ptr()
    assert torch.equal(joined, memory.view(6, 2)[:5])
    (apart,) = operation.to_hf([memory[0].clone(), memory[1].clone()])
    assert torch.equal(apart, joined)
    (swapped,) = operation.to_hf([memory[1], memory[0]])
    assert swapped.flatten().tolist() == [6, 7, 8, 9, 10, 11, 0, 1, 2, 3]


def test_the_shape_is_that_of_what_one_rank_alone_holds():
    q, k, v = column(0, 1, 2, 3), column(10, 11), column(20, 21)
    cases = [
        (FusedQKV(parts(q, k, v), groups=2), [q, k, v]),
        (FusedQKV(parts(q.flatten(), k.flatten(), v.flatten()), groups=2), [q.flatten(), k.flatten(), v.flatten()]),
        (FusedGateUp(parts(q, q)), [q, q]),
        (RowParallel(parts(torch.ones(3, 4))), [torch.ones(3, 4)]),
        (Copy(parts(torch.ones(5))), [torch.ones(5)]),
        (Vocabulary(parts(q)), [q]),
    ]
    for operation, tensors in cases:
        assert operation.shape(8) == tuple(operation.to_megatron(tensors, 0, 1, 8).shape), operation
    with pytest.raises(WeightsError):
        Vocabulary(parts(q)).shape(3)
