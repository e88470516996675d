"""What a checkpoint in Megatron's torch_dist format holds, from its metadata alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from nemo_prorl.errors import CheckpointError
from nemo_prorl.megatron.model import TRANSFORMER_ENGINE_NAMES
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.families import weight_map

EMBEDDING = "embedding.word_embeddings.weight"
MODEL = ("embedding.", "decoder.", "output_layer.")  # how the names of the policy's tensors begin


@dataclass(frozen=True)
class StoredModel:
    """The policy in a checkpoint: shapes of its whole tensors by stored name, and their dtype."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    dtype: torch.dtype

    @classmethod
    def read(cls, path: Path) -> StoredModel:
        """Of the checkpoint `path`.

        Raises:
            CheckpointError: it has no readable metadata, or is not of a language model.
        """
        try:
            stored = FileSystemReader(path).read_metadata().state_dict_metadata
        except Exception as error:  # the metadata is a pickle, so a damaged one raises anything
            raise CheckpointError(
                f"{path} is no checkpoint in torch_dist format ({type(error).__name__}: {error}). Give one of the "
                "iter_... folders, or the folder that they lie in."
            ) from error
        tensors = {
            name: entry
            for name, entry in stored.items()
            if name.startswith(MODEL) and isinstance(entry, TensorStorageMetadata)
        }
        if EMBEDDING not in tensors:
            raise CheckpointError(f"{path} has no {EMBEDDING}; it holds {', '.join(sorted(stored)[:5])}, ...")
        shapes = {name: tuple(entry.size) for name, entry in tensors.items()}
        return cls(path, shapes, tensors[EMBEDDING].properties.dtype)

    @property
    def padded_vocab(self) -> int:
        """Rows of the embeddings, padding included."""
        return self.shapes[EMBEDDING][0]

    def check(self, architecture: Architecture, like: Path) -> None:
        """See that the policy has exactly the tensors of the architecture of `like`.

        Megatron loads what it asks for and passes over the rest: a model without biases would drop them unseen.

        Raises:
            CheckpointError: tensors are missing, unknown or misshapen; all of them are listed.
        """
        expected = _expected_shapes(architecture, max(self.padded_vocab, architecture.vocab_size))
        problems = [f"{name} is missing" for name in expected if name not in self.shapes]
        for name, shape in self.shapes.items():
            if name not in expected:
                problems.append(f"{name} {list(shape)} is unknown")
            elif shape != expected[name]:
                problems.append(f"{name} is {list(shape)}, expected {list(expected[name])}")
        if problems:
            listed = "\n  ".join(problems)
            raise CheckpointError(
                f"{self.path} is not of a model like {like} ({len(problems)} problems):\n  {listed}\n"
                "Give the folder of the model that the training started from."
            )


def _expected_shapes(architecture: Architecture, padded_vocab: int) -> dict[str, tuple[int, ...]]:
    """Shapes by stored name. All layers of one kind are stored as one tensor, under Transformer Engine's names."""
    shapes = {}
    for name, operation in weight_map(architecture).items():
        if not operation.exported:
            continue  # a copy of tied embeddings is not stored
        parts = [torch.empty(part.shape, device="meta") for part in operation.parts]
        shape = tuple(operation.to_megatron(parts, 0, 1, padded_vocab).shape)
        if name.startswith("decoder.layers."):
            name = "decoder.layers." + name.split(".", 3)[3]
            shape = (architecture.num_layers, *shape)
        for te_name, local_name in TRANSFORMER_ENGINE_NAMES.items():
            name = name.replace(local_name, te_name)
        shapes[name] = shape
    return shapes
