"""Whether a tokenizer's ids have rows in the embeddings."""

from __future__ import annotations

import json
from pathlib import Path

from nemo_prorl.errors import WeightsError


def check_tokenizer(folder: Path, vocab_size: int) -> None:
    """See that no token of the tokenizer in `folder` lies beyond the model's vocabulary. Fewer tokens are usual.

    A tokenizer without tokenizer.json is not looked at.

    Raises:
        WeightsError: it has more tokens than the model, or can't be read.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        vocabulary = content["model"]["vocab"]
        ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else list(range(len(vocabulary)))
        ids += [token["id"] for token in content["added_tokens"] or []]
        largest = max(ids, default=-1)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is no tokenizer ({error!r}); download it again.") from error
    if largest >= vocab_size:
        raise WeightsError(
            f"{path} has tokens up to number {largest}, but the model's vocabulary has {vocab_size} rows (vocab_size "
            "in config.json): it is another model's tokenizer, or one that grew after the weights were saved. Put "
            "the model's own tokenizer there."
        )
