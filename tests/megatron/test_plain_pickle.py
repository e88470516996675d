import os
import pickle
from argparse import Namespace
from collections import OrderedDict

import pytest
import torch

from nemo_prorl.megatron.interop.plain_pickle import Stranger, plain_loads


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_pickle_is_run(tmp_path):
    content = pickle.dumps({"weights": Hostile(tmp_path / "owned")})
    found = plain_loads(content)["weights"]
    assert isinstance(found, Stranger)
    assert found.arguments == (str(tmp_path / "owned"),)
    assert not (tmp_path / "owned").exists()
    pickle.loads(content)
    assert (tmp_path / "owned").exists()  # the plain reader would have


def test_data_is_itself():
    things = {"args": Namespace(num_layers=2, dtype=torch.bfloat16), "size": torch.Size([2, 3]), "o": OrderedDict(a=1)}
    assert plain_loads(pickle.dumps(things)) == things


@pytest.mark.parametrize("content", [b"", b"\x80\x04", pickle.dumps([1, 2, 3])[:-2], b"garbage"])
def test_a_damaged_pickle_is_named(content):
    with pytest.raises(pickle.UnpicklingError):
        plain_loads(content)
