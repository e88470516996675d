"""`prorl analyze BASE [MIDDLE] FINAL`: where the boundary of reasoning moved."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from nemo_prorl.analysis.analyse import BOUNDARY_K, RESPONSES, analyse, write_analysis
from nemo_prorl.analysis.creativity import Corpus
from nemo_prorl.analysis.records import ANALYSIS, IN_WORDS, Role
from nemo_prorl.analysis.summary import in_words
from nemo_prorl.commands.option_parser import option_parser, positive
from nemo_prorl.errors import ConfigError
from nemo_prorl.evaluation.folder import EvaluationFolder

INFINI_GRAM = "https://api.infini-gram.io/"

EXAMPLES = """\
BASE, MIDDLE and FINAL are folders of finished evaluations (`prorl evaluate ... run.dir=FOLDER`) of the model before, in
the midst of, and after its training, on the same sets. docs/evaluation.md says what each number is.

examples:
  prorl analyze evaluations/base evaluations/final --output analysis
  prorl analyze evaluations/base evaluations/step_1000 evaluations/final --output analysis --corpus texts/
  prorl analyze evaluations/base evaluations/final --output analysis --infini-gram v4_dolma-v1_7_llama

Exit codes: 0; 2 when the output can't be written, or no such API is at --infini-gram-url; 3 when evaluations aren't
finished, or not of the same problems, or a corpus can't be read or asked."""


def run(arguments: list[str], *, dry_run: bool) -> int:
    """Analyse, or with `dry_run` say which benchmarks there are. Returns the exit code.

    Raises:
        ConfigError: the output can't be written, or an address isn't infini-gram's.
        DataError: evaluations aren't finished, or not of the same problems; a corpus can't be read.
    """
    options = _options(arguments)
    folders = by_role(options.evaluations)
    if dry_run:
        for role, folder in folders.items():
            manifest = folder.manifest()
            print(f"{role:<6}  {manifest.model.name}: {', '.join(manifest.sets)}")
        return 0
    with _corpus(options) as corpus:
        analysis = analyse(
            folders, boundary_k=options.boundary_k, corpus=corpus, responses=options.responses, told=_say
        )
    try:
        write_analysis(analysis, options.output)
    except OSError as error:
        raise ConfigError(f"--output {options.output} can't be written: {error}") from error
    print(in_words(analysis))
    print(f"{options.output / ANALYSIS} and {options.output / IN_WORDS} are written", file=sys.stderr)
    return 0


def by_role(paths: Sequence[Path]) -> Mapping[Role, EvaluationFolder]:
    """Two or three folders, base first and final last."""
    roles: tuple[Role, ...] = ("base", "final") if len(paths) == 2 else ("base", "middle", "final")
    return {role: EvaluationFolder(path) for role, path in zip(roles, paths, strict=True)}


@contextmanager
def _corpus(options: argparse.Namespace) -> Iterator[Corpus | None]:
    """What answers are looked up in, if in anything. What it needs is only loaded then."""
    if options.corpus is not None:
        from nemo_prorl.analysis.local_corpus import LocalCorpus

        yield LocalCorpus(options.corpus)
        return
    remote: AbstractContextManager[Corpus | None] = nullcontext()
    if options.infini_gram is not None:
        from nemo_prorl.analysis.infini_gram import InfiniGramCorpus

        remote = InfiniGramCorpus(options.infini_gram_url, options.infini_gram)
    with remote as corpus:
        yield corpus


def _say(what: str) -> None:
    print(f"done: {what}", file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = option_parser(
        "prorl analyze", "Where the boundary of reasoning moved, from a base to a trained model.", EXAMPLES
    )
    made.add_argument("evaluations", nargs="+", type=Path, metavar="FOLDER", help="BASE [MIDDLE] FINAL")
    made.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="analysis.json and analysis.md")
    made.add_argument(
        "--boundary-k", type=positive, default=BOUNDARY_K, metavar="K", help="of pass@k, the boundary; default: 128"
    )
    creative = made.add_mutually_exclusive_group()
    creative.add_argument("--corpus", type=Path, metavar="FOLDER", help="creativity index against its text files")
    creative.add_argument(
        "--infini-gram", metavar="INDEX", help="creativity index against an index of infini-gram's API"
    )
    made.add_argument("--infini-gram-url", default=INFINI_GRAM, metavar="URL", help=f"default: {INFINI_GRAM}")
    made.add_argument(
        "--responses",
        type=positive,
        default=RESPONSES,
        metavar="N",
        help="looked up for each benchmark, one a problem",
    )
    return made


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    made = parser()
    options = made.parse_args(arguments)
    if not 2 <= len(options.evaluations) <= 3:
        made.error(f"two or three folders are compared; found {len(options.evaluations)}")
    return options
