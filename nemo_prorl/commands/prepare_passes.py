"""Which quality passes a source goes through, by the settings; the cheap ones first, the one that is paid for last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from nemo_prorl.config.choice import as_knobs
from nemo_prorl.config.prepare import JudgeConfig, PrepareConfig, QualityConfig
from nemo_prorl.data.prepare.base import AsksJudge, Converter
from nemo_prorl.data.prepare.chat import ChatApi
from nemo_prorl.data.prepare.judge import Bill, LanguageModelJudge
from nemo_prorl.data.prepare.passes import Pass
from nemo_prorl.data.prompt import Row
from nemo_prorl.data.quality.answers import OwnReference, Verifiable
from nemo_prorl.data.quality.contamination import Contamination
from nemo_prorl.data.quality.duplicates import ExactDuplicates, NearDuplicates
from nemo_prorl.data.quality.length import PromptLength
from nemo_prorl.data.sources import SOURCES
from nemo_prorl.data.sources.base import Source
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import ConfigError
from nemo_prorl.plugins import configured
from nemo_prorl.verifiers.configured_pool import verifier_pool
from nemo_prorl.verifiers.references import objection_to
from nemo_prorl.verifiers.rows import RowJudge


@contextmanager
def passes_for(converter: Converter, config: PrepareConfig) -> Iterator[list[Pass]]:
    """The passes of one source; inside, the processes that they ask are there."""
    quality = config.quality
    passes: list[Pass] = [ExactDuplicates()] if quality.exact_duplicates else []
    if quality.verifiable:
        passes.append(Verifiable(objection_to))
    if quality.near_duplicates:
        passes.append(NearDuplicates(threshold=quality.near_duplicate_similarity))
    if quality.evaluation:
        passes.append(Contamination(_evaluation(quality)))
    if quality.tokenizer is not None:
        passes.append(_prompt_length(quality.tokenizer, quality.max_prompt_tokens))
    with ExitStack() as stack:
        if converter.card.domain in quality.own_reference:
            pool = stack.enter_context(verifier_pool(config.verifiers))
            passes.append(OwnReference(RowJudge(pool), threads=2 * config.verifiers.workers))
        if needs_judge(converter):
            passes.append(_judge(config.judge, Path(config.folder)))
        yield passes


def needs_judge(converter: Converter) -> bool:
    """Whether a language model is asked about its rows."""
    return isinstance(converter, AsksJudge) and converter.needs_judge


def check_evaluation(quality: QualityConfig) -> None:
    """
    Raises:
        ConfigError: an evaluation set that can't be read from its first row to its last.
    """
    for name, source in _evaluation_sources(quality):
        if source.size is None:
            raise ConfigError(
                f"quality.evaluation.{name} never ends, so it can't be kept out; give its problems a file"
            )


def _evaluation(quality: QualityConfig) -> Iterator[tuple[str, Row]]:
    for name, source in _evaluation_sources(quality):
        yield from ((name, source.row(index)) for index in range(source.size or 0))


def _evaluation_sources(quality: QualityConfig) -> Iterator[tuple[str, Source]]:
    for name, choice in quality.evaluation.items():
        made: Any = configured(as_knobs(choice), SOURCES, f"quality.evaluation.{name}")(name)
        yield name, made


def _prompt_length(folder: str, max_prompt_tokens: int) -> PromptLength:
    tokenizer = Tokenizer.load(Path(folder))
    return PromptLength(lambda row: len(tokenizer.render(row.messages)), max_prompt_tokens=max_prompt_tokens)


def _judge(judge: JudgeConfig, folder: Path) -> LanguageModelJudge:
    api = ChatApi(
        judge.base_url,
        judge.model,
        api_key_variable=judge.api_key_variable,
        timeout_seconds=judge.timeout_seconds,
        attempts=judge.attempts,
        first_wait_seconds=judge.first_wait_seconds,
        parameters=judge.parameters,
    )
    return LanguageModelJudge(
        api,
        folder / "judge",
        concurrency=judge.concurrency,
        malformed_attempts=judge.malformed_attempts,
        both_orders=judge.both_orders,
        max_solution_chars=judge.max_solution_chars,
        max_dollars=judge.max_dollars,
        bill=Bill(judge.dollars_per_million_input, judge.dollars_per_million_output),
    )
