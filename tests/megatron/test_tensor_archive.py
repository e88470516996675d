import io

import pytest
import torch

from nemo_prorl.megatron.interop.tensor_archive import Place, read_tensor, write_tensor

TENSORS = [
    torch.randn(5, 7),
    torch.randn(5, 7).bfloat16(),
    torch.randn(1, 3, 2).half(),
    torch.randn(5, 7).t(),
    torch.zeros(3, 0),
    torch.tensor(2.5),
]


@pytest.mark.parametrize("tensor", TENSORS, ids=lambda tensor: f"{tensor.dtype}-{list(tensor.shape)}")
def test_torch_reads_what_we_write_and_we_what_torch_writes(tensor):
    file = io.BytesIO()
    file.write(b"what lies before it")
    place = write_tensor(file, tensor)
    archive = file.getvalue()[place.offset : place.offset + place.length]
    assert torch.equal(torch.load(io.BytesIO(archive), weights_only=True), tensor)
    assert torch.equal(read_tensor(file, place), tensor)
    theirs = io.BytesIO()
    torch.save(tensor, theirs)
    assert torch.equal(read_tensor(theirs, Place(0, len(theirs.getvalue()))), tensor)


def test_a_slice_is_read_as_such():
    """torch saves the whole storage of a view, and where in it the view lies."""
    whole = torch.arange(20.0).reshape(5, 4)
    theirs = io.BytesIO()
    torch.save(whole[1:3, ::2], theirs)
    assert torch.equal(read_tensor(theirs, Place(0, len(theirs.getvalue()))), whole[1:3, ::2])


def test_a_tensor_goes_where_it_shall_without_a_second_copy():
    file, target = io.BytesIO(), torch.zeros(3, 2)
    place = write_tensor(file, torch.ones(1, 2))
    read = read_tensor(file, place, into=target[1:2])
    assert target.tolist() == [[0, 0], [1, 1], [0, 0]]
    assert read.data_ptr() == target[1:2].data_ptr()


@pytest.mark.parametrize("place", [Place(0, 100), Place(3, 700)], ids=["short", "shifted"])
def test_what_is_cut_off_is_refused(place):
    file = io.BytesIO()
    write_tensor(file, torch.randn(5, 7))
    with pytest.raises(ValueError, match=f"byte {place.offset}"):
        read_tensor(file, place)


def test_a_changed_bit_is_found():
    file = io.BytesIO()
    place = write_tensor(file, torch.zeros(100))
    content = bytearray(file.getvalue())
    content[content.index(bytes(400)) + 200] ^= 1
    with pytest.raises(ValueError, match="other bytes than were written"):
        read_tensor(io.BytesIO(content), place)
