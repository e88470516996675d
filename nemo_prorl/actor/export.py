"""From the Megatron model back to a Hugging Face folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nemo_prorl.config.kept import ExportConfig
from nemo_prorl.config.schema import ProRLConfig, SFTConfig
from nemo_prorl.errors import ProRLError
from nemo_prorl.megatron.model import PolicyModel
from nemo_prorl.megatron.weights import export_weights
from nemo_prorl.weights.architecture import read_hf_config
from nemo_prorl.weights.hf_writer import write_hf_folder
from nemo_prorl.weights.new_folder import refuse_to_replace
from nemo_prorl.weights.training_card import training_card
from nemo_prorl.world import World, gather_or_raise

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Export:
    """Writes a model as a Hugging Face folder; config and tokenizer files come from `like`, the folder it came from."""

    config: ExportConfig
    like: Path
    world: World
    card: Callable[[str], str] | None = None  # the model card's text, for the folder's name

    @classmethod
    def of(cls, config: ProRLConfig | SFTConfig, world: World) -> Export:
        """The export of a run, with a model card that tells its settings."""
        like, command = Path(config.model.path), "train" if isinstance(config, ProRLConfig) else "sft"
        settings, base = config.model_dump(mode="json"), read_hf_config(like)
        return cls(config.export, like, world, card=lambda name: training_card(name, command, settings, base))

    def check(self, folder: Path) -> None:
        """Collective: find before a long training what would keep `folder` from being written after it.

        Raises:
            WeightsError: there is something else in the folder's place; on every rank.
        """
        failure = None
        if self.world.is_main:
            try:
                refuse_to_replace(folder, overwrite=True)
            except ProRLError as error:
                failure = error
        gather_or_raise(self.world, None, failure, "looking at the folder to export to")

    def __call__(self, model: PolicyModel, folder: Path) -> None:
        """Collective: every rank helps to gather the weights, the main one writes them.

        Raises:
            WeightsError: the folder can't be written; on every rank.
        """
        stream = export_weights(model)
        failure: Exception | None = None
        try:
            if self.world.is_main:
                self._write(stream, folder)
            else:
                for _ in stream:
                    pass
        except (ProRLError, OSError) as error:
            failure = error
        gather_or_raise(self.world, None, failure, "exporting")
        if self.world.is_main:
            log.info("exported the policy to %s", folder)

    def _write(self, stream: Iterator[tuple[str, Tensor]], folder: Path) -> None:
        write_hf_folder(
            folder,
            stream,
            like=self.like,
            dtype=self.config.dtype,
            max_shard_bytes=self.config.max_shard_bytes,
            overwrite=True,
            card=None if self.card is None else self.card(folder.name),
        )
