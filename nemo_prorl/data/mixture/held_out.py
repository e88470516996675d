"""Problems that are kept for validation, and away from training."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Literal

from nemo_prorl.data.mixture.preparation import Objection, as_prompt, too_long
from nemo_prorl.data.prompt import Prompt, Row
from nemo_prorl.data.sources.base import Source, first_of_each_task, question_key
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import DataError

log = logging.getLogger(__name__)


def held_out(
    sources: Mapping[str, Source],
    tokenizer: Tokenizer,
    *,
    problems_per_task: int,
    max_prompt_tokens: int,
    long_prompts: Literal["error", "skip"] = "error",
    objection: Objection | None = None,
    setting: str = "data.held_out",
    limits: str = "data",
) -> list[Prompt]:
    """The first `problems_per_task` different problems of each task of each source, for validation.

    `long_prompts` says what happens to a prompt over `max_prompt_tokens`: an error, or the task's next takes its place,
    as it does of one that there is an `objection` to. Messages say where a source stands, at `setting`, and
    max_prompt_tokens and long_prompts, at `limits`.

    Raises:
        DataError: a task of an endless source doesn't have so many, a prompt is too long, or all of a source are.
    """
    skipped: list[Prompt] = []

    def fits(row: Row) -> bool:
        prompt = as_prompt(row, tokenizer)
        if len(prompt.token_ids) <= max_prompt_tokens:
            if reason := objection(prompt) if objection else None:
                log.warning("prompt %s of %s is left out: %s", prompt.uid, prompt.source, reason)
            return reason is None
        if long_prompts == "error":
            raise too_long(prompt, max_prompt_tokens, limits)
        skipped.append(prompt)
        return False

    prompts: list[Prompt] = []
    for name, source in sorted(sources.items()):
        skipped.clear()
        found = [as_prompt(row, tokenizer) for row in first_of_each_task(source, problems_per_task, fits)]
        if skipped and not found:
            raise DataError(
                f"{setting}.{name}: each of its {len(skipped)} problems is over "
                f"{limits}.max_prompt_tokens={max_prompt_tokens}; raise it, or take other problems"
            )
        if skipped:
            log.warning("%s.%s: %d problems are too long and left out", setting, name, len(skipped))
        prompts += found
    return prompts


def question_keys(prompts: Iterable[Prompt]) -> frozenset[str]:
    """What `Mixture` needs to keep these prompts' questions out of training."""
    return frozenset(question_key(prompt.messages) for prompt in prompts)
