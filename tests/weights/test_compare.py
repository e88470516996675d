import math

import pytest
import torch
from safetensors.torch import save_file

from nemo_prorl.weights.compare import TensorComparison, compare_tensors, largest_difference, same_bits
from nemo_prorl.weights.hf_folder import TensorReader


def reader(folder, **tensors):
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    return TensorReader(folder)


def test_every_kind_of_difference_is_told(tmp_path):
    left = {"a": torch.ones(2), "b": torch.ones(2), "c": torch.ones(2), "d": torch.ones(2), "e": torch.ones(2)}
    right = {"a": torch.ones(2), "b": torch.tensor([1.0, 1.5]), "c": torch.ones(3), "d": torch.ones(2).bfloat16()}
    found = compare_tensors(reader(tmp_path / "left", **left), reader(tmp_path / "right", **right, f=torch.ones(1)))
    assert sorted(found, key=lambda comparison: comparison.name) == [
        TensorComparison("a"),
        TensorComparison("b", "values", 0.5),
        TensorComparison("c", "shape [2] and [3]"),
        TensorComparison("d", "float32 and bfloat16", 0.0),
        TensorComparison("e", "only in the first"),
        TensorComparison("f", "only in the second"),
    ]


def test_a_model_does_not_differ_from_itself(qwen2_folder):
    with TensorReader(qwen2_folder) as left, TensorReader(qwen2_folder) as right:
        assert list(compare_tensors(left, right)) == [TensorComparison(name) for name in left.names]


def test_bits_are_compared_not_values():
    assert same_bits(torch.tensor([math.nan]), torch.tensor([math.nan]))
    assert not same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))


@pytest.mark.parametrize(
    ("left", "right", "largest"),
    [
        ([1.0, 2.0], [1.0, -2.0], 4.0),
        ([math.nan, 1.0], [math.nan, 1.0], 0.0),
        ([math.inf], [math.inf], 0.0),
        ([math.nan], [1.0], math.inf),
        ([math.inf], [1.0], math.inf),
        ([], [], 0.0),
    ],
)
def test_the_largest_difference(left, right, largest):
    assert largest_difference(torch.tensor(left), torch.tensor(right)) == largest
