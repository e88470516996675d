"""From the Megatron model back to a Hugging Face folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from nemo_prorl.config.schema import ExportConfig
from nemo_prorl.megatron.model import PolicyModel
from nemo_prorl.megatron.weights import export_weights
from nemo_prorl.weights.hf_folder import write_hf_folder
from nemo_prorl.world import World

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Export:
    """Writes a model as a Hugging Face folder; config and tokenizer files come from `like`, the folder it came from."""

    config: ExportConfig
    like: Path
    world: World

    def __call__(self, model: PolicyModel, folder: Path) -> None:
        """Collective: every rank helps to gather the weights, the main one writes them."""
        stream = export_weights(model)
        if self.world.is_main:
            write_hf_folder(
                folder,
                stream,
                like=self.like,
                dtype=self.config.dtype,
                max_shard_bytes=self.config.max_shard_bytes,
                overwrite=True,
            )
            log.info("exported the policy to %s", folder)
        else:
            for _ in stream:
                pass
        self.world.barrier()
