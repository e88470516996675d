"""An evaluation: every problem of every set gets its answers, which are judged and stored, over any number of ranks.

Problems are asked in parts, each a call of the engine of its own and a file of its own. Which problems a part has
depends on the set alone, so neither the number of ranks nor an interruption changes what the engine is asked, and what
it answers. Whatever part is missing is made: that is all there is to going on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nemo_prorl.control import RunControl
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.trajectory import Group
from nemo_prorl.errors import ConfigError, Stopped
from nemo_prorl.evaluation.asking import judged_groups
from nemo_prorl.evaluation.folder import TABLES_TEXT, EvaluationFolder
from nemo_prorl.evaluation.records import Manifest
from nemo_prorl.evaluation.results import write_results
from nemo_prorl.rollout.engine import RolloutEngine
from nemo_prorl.rollout.sampling import VerdictPool
from nemo_prorl.telemetry.progress import Progress
from nemo_prorl.telemetry.run_folder import written
from nemo_prorl.world import World, gather_or_raise

log = logging.getLogger(__name__)


class Part(NamedTuple):
    """Problems of a set that are asked together: those from `start` up to `end`."""

    set: str
    number: int
    start: int
    end: int


class Evaluator:
    """Use it once. The engine must hold the model's weights.

    `prompts` and `manifest` speak of the same sets. `ks` of pass@k; None: powers of two. `beside`: see `results_of`.
    """

    def __init__(
        self,
        *,
        engine: RolloutEngine,
        pool: VerdictPool,
        prompts: Mapping[str, Sequence[Prompt]],
        manifest: Manifest,
        folder: EvaluationFolder,
        world: World,
        control: RunControl,
        progress: Progress,
        ks: Sequence[int] | None,
        beside: Sequence[str],
    ) -> None:
        self._engine, self._pool, self._prompts, self._manifest = engine, pool, prompts, manifest
        self._folder, self._world, self._control, self._progress = folder, world, control, progress
        self._ks, self._beside = ks, beside

    def run(self) -> None:
        """Make what is missing, then the results. Collective.

        Raises:
            ConfigError: the folder holds another evaluation.
            RolloutError, VerifierError: the engine, or the verifiers, can't be trusted; on every rank.
            RunFolderError: a file can't be written.
            Stopped: some rank was asked to stop. Whole parts are kept, and the same command goes on.
        """
        missing = self._begin()
        failure = self._make_all(missing[self._world.rank :: self._world.size])
        try:
            gather_or_raise(self._world, None, failure, "evaluating")
        except Stopped:
            self._control.stop_is_done()
            raise
        self._end()

    @property
    def is_main(self) -> bool:
        return self._world.is_main

    @property
    def tables(self) -> str:
        """What came of it, to be read; on the main rank."""
        return (self._folder.path / TABLES_TEXT).read_text(encoding="utf-8")

    def _begin(self) -> list[Part]:
        """Claim the folder for this evaluation; the parts that it lacks. Collective."""
        missing: list[Part] = []
        failure: Exception | None = None
        if self._world.is_main:
            try:
                with written(self._folder.path):
                    missing = self._prepare()
            except Exception as error:
                failure = error
        gather_or_raise(self._world, None, failure, "preparing the folder")
        missing = self._world.broadcast(missing)
        self._progress.resume(self._problems_done())
        self._progress.phase("rollout")
        return missing

    def _prepare(self) -> list[Part]:
        manifest = self._manifest
        if self._folder.has_manifest():
            known = self._folder.manifest()
            check_same(known, manifest, str(self._folder.path))
            ever = {**known.taken_out, **known.sets}
            left = {name: asked for name, asked in ever.items() if name not in manifest.sets}
            manifest = manifest.model_copy(update={"taken_out": left, "versions": known.versions})
        self._folder.begin()
        self._folder.write_problems(self._prompts)
        self._folder.write_manifest(manifest)  # the last, for a folder is known by it
        missing, parts = self._parts(done=False), len(parts_of(self._manifest))
        if len(missing) < parts:
            log.info("%d of %d parts are there already; the others are made", parts - len(missing), parts)
        return missing

    def _make_all(self, parts: Sequence[Part]) -> Exception | None:
        """This rank's share, or why it ended early. Ranks meet only when all are done, so the others are told at once:
        a stop ends what they do, a failure is seen before their next part."""
        try:
            for part in parts:
                if self._folder.has_failed():
                    break
                self._make(part)
        except Stopped as stop:
            self._control.pass_on(stop)
            return stop
        except Exception as error:
            self._folder.note_failure()
            return error
        return None

    def _make(self, part: Part) -> None:
        """Ask, judge, store."""
        asked = self._manifest.sets[part.set]
        prompts = self._prompts[part.set][part.start : part.end]
        sampling = SamplingParams(samples_per_prompt=asked.samples_per_prompt, **self._manifest.sampling.model_dump())
        groups = list(judged_groups(self._engine, self._pool, prompts, sampling, self._control.stop_reason))
        self._pool.check_health()  # before the part is stored: what can't be trusted is made again
        self._pool.drain_metrics()
        with written(self._folder.part_path(part.set, part.number)):
            self._folder.write_part(part.set, part.number, groups)
        self._progress.step(self._problems_done(), part.set, _in_brief(groups, asked.solved_reward))

    def _problems_done(self) -> int:
        """Of all ranks: what has its file."""
        return sum(part.end - part.start for part in self._parts(done=True))

    def _parts(self, *, done: bool) -> list[Part]:
        """Those that have their file, or those that don't."""
        there = self._folder.part_names()
        return [
            part
            for part in parts_of(self._manifest)
            if (self._folder.part_path(part.set, part.number).name in there) == done
        ]

    def _end(self) -> None:
        self._progress.phase("results")
        failure: Exception | None = None
        if self._world.is_main:
            try:
                with written(self._folder.path):
                    write_results(self._folder, ks=self._ks, beside=self._beside)
            except Exception as error:
                failure = error
        gather_or_raise(self._world, None, failure, "writing the results")


def parts_of(manifest: Manifest) -> list[Part]:
    """All parts of an evaluation, in order."""
    return [
        Part(name, number, start, min(start + asked.problems_per_part, asked.problems))
        for name, asked in manifest.sets.items()
        for number, start in enumerate(range(0, asked.problems, asked.problems_per_part))
    ]


def check_same(known: Manifest, wanted: Manifest, folder: str) -> None:
    """Whether an evaluation may go on in a folder that has one. Sets may come and go; versions are only told.

    Raises:
        ConfigError: answers that are there came about otherwise than those to come would.
    """
    differing = []
    if known.model.identity != wanted.model.identity:
        differing.append(f"the model (there: {known.model.path})")
    if known.engine != wanted.engine:
        differing.append(f"the engine (there: {known.engine})")
    for name in type(known.sampling).model_fields:
        there, here = (getattr(manifest.sampling, name) for manifest in (known, wanted))
        if there != here:
            differing.append(f"{name} (there {there}, now {here})")
    ever = {**known.taken_out, **known.sets}  # answers of a set that was taken out still lie there
    for name in ever.keys() & wanted.sets.keys():
        for field in ("identity", "problems", "samples_per_prompt", "problems_per_part"):
            there, here = (getattr(sets[name], field) for sets in (ever, wanted.sets))
            if there != here:
                differing.append(
                    f"{'the problems' if field == 'identity' else field} of {name} (there {there}, now {here})"
                )
    if differing:
        raise ConfigError(
            f"run.dir={folder} holds another evaluation; what differs: {', '.join(differing)}. Choose another run.dir, "
            "or give the same settings to go on"
        )
    if known.versions != wanted.versions:
        log.warning(
            "this evaluation began with other versions of packages, which may answer otherwise: %s", known.versions
        )


def _in_brief(groups: Sequence[Group], solved_reward: float) -> dict[str, float]:
    rewards = [reward for group in groups for reward in group.rewards]
    lengths = [length for group in groups for length in group.lengths]
    return {
        "evaluation/solved": sum(reward >= solved_reward for reward in rewards) / len(rewards),
        "rollout/response_tokens_mean": sum(lengths) / len(lengths),
    }
