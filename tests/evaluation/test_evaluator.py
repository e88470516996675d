"""An evaluation in parts: what is missing is made, whoever makes it, and nothing else changes."""

import pytest

from nemo_prorl.control import RunControl
from nemo_prorl.errors import ConfigError, RolloutError, Stopped, VerifierError
from nemo_prorl.evaluation.evaluator import Evaluator, parts_of
from nemo_prorl.evaluation.folder import EvaluationFolder
from nemo_prorl.telemetry.progress import Progress
from nemo_prorl.world import LocalWorld
from tests.evaluation.examples import example_manifest
from tests.rollout.stand_ins import InlinePool, on_ranks, prompt, scripted

PROMPTS = {
    "aime_2024": [prompt(f"a{number}") for number in range(20)],
    "codeforces": [prompt(f"c{number}", "code") for number in range(5)],
}
SAMPLES = 3


class Counting:
    """Answers right (1), wrong (0) or nothing by problem and sample; knows what it was asked."""

    def __init__(self, stop_after=None, drops=False):
        self.asked, self.stop_after, self.drops, self.given = [], stop_after, drops, 0
        self.engine = scripted(
            lambda prompt, sample: ("1", "0", "")[(len(prompt.uid) + int(prompt.uid[1:]) + sample) % 3]
        )

    def generate(self, prompts, sampling):
        self.asked.append([prompt.uid for prompt in prompts])
        for sampled in self.engine.generate(prompts, sampling):
            self.given += 1
            if not (self.drops and sampled.sample == 1):
                yield sampled

    def why(self):
        return "SIGTERM" if self.stop_after is not None and self.given >= self.stop_after else None


def manifest(**changes):
    made = example_manifest("model", {name: len(found) for name, found in PROMPTS.items()}, SAMPLES)
    return made.model_copy(update=changes)


def evaluate(path, engine, world=None, asked=None, pool=None, **more):
    world, asked = world or LocalWorld(), asked or manifest()
    with Progress(25, is_main=False) as progress:
        Evaluator(
            engine=engine,
            pool=pool or InlinePool(),
            prompts={name: PROMPTS[name] for name in asked.sets},
            manifest=asked,
            folder=EvaluationFolder(path),
            world=world,
            control=RunControl(path, world, engine.why),
            progress=progress,
            **{"ks": None, "beside": (), **more},
        ).run()
    return EvaluationFolder(path)


def contents(path):
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.suffix in (".json", ".parquet", ".md", ".txt")
    }


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    path = tmp_path_factory.mktemp("unbroken")
    evaluate(path, Counting())
    return path


def test_every_part_is_one_call_of_the_engine_and_one_file(tmp_path):
    engine = Counting()
    folder = evaluate(tmp_path, engine)
    assert [len(uids) for uids in engine.asked] == [8, 8, 4, 5]
    assert [part[1:] for part in parts_of(folder.manifest())] == [(0, 0, 8), (1, 8, 16), (2, 16, 20), (0, 0, 5)]
    assert [path.name for path in folder.parts("aime_2024")] == [f"aime_2024-0000{part}.parquet" for part in range(3)]
    assert len(folder.samples("aime_2024")["uid"]) == 20 * SAMPLES
    results = folder.results()
    assert results.sets["aime_2024"].solved.value == pytest.approx(1 / 3, abs=0.02)
    assert results.sets["codeforces"].no_answer.value == pytest.approx(1 / 3, abs=0.01)


def test_an_evaluation_that_is_stopped_goes_on_to_the_same_files(unbroken, tmp_path):
    stopped = Counting(stop_after=10 * SAMPLES)  # in the midst of the second part
    with pytest.raises(Stopped, match="SIGTERM"):
        evaluate(tmp_path, stopped)
    folder = EvaluationFolder(tmp_path)
    assert len(folder.parts("aime_2024")) == 1 and not folder.is_finished()
    again = Counting()
    evaluate(tmp_path, again)
    assert [len(uids) for uids in again.asked] == [8, 4, 5]
    assert contents(tmp_path) == contents(unbroken)


def test_a_finished_evaluation_asks_nothing_and_scores_anew(unbroken, tmp_path):
    evaluate(tmp_path, Counting())
    again = Counting()
    folder = evaluate(tmp_path, again, ks=[1, 2])
    assert again.asked == []
    assert list(folder.results().sets["aime_2024"].pass_at_k) == [1, 2]


@pytest.mark.parametrize("size", [2, 5])
def test_any_number_of_ranks_gives_the_same_files(unbroken, tmp_path, size):
    engines = [Counting() for _ in range(size)]
    found = on_ranks(size, lambda world: evaluate(tmp_path, engines[world.rank], world))
    assert not [one for one in found if isinstance(one, Exception)]
    assert contents(tmp_path) == contents(unbroken)
    assert sum(len(engine.asked) for engine in engines) == 4
    assert all(len(engine.asked) <= 2 for engine in engines)


def test_a_rank_that_is_stopped_stops_all_and_one_that_fails_is_named(tmp_path):
    engines = [Counting(), Counting(stop_after=1)]
    stopped = on_ranks(2, lambda world: evaluate(tmp_path / "stopped", engines[world.rank], world))
    assert [type(one) for one in stopped] == [Stopped, Stopped]
    engines = [Counting(), Counting(drops=True)]
    failed = on_ranks(2, lambda world: evaluate(tmp_path / "failed", engines[world.rank], world))
    assert [type(one) for one in failed] == [RolloutError, RolloutError]
    assert "rank 1 failed while evaluating" in str(failed[0]) and "gave samples [0, 2] of prompt 'a8'" in str(failed[1])


def test_answers_of_verifiers_that_can_not_be_trusted_are_not_stored(tmp_path):
    with pytest.raises(VerifierError, match="broken"):
        evaluate(tmp_path, Counting(), pool=InlinePool(unhealthy=VerifierError("broken")))
    assert EvaluationFolder(tmp_path).parts("aime_2024") == []


def test_a_set_may_be_added_and_taken_out(unbroken, tmp_path):
    one = manifest(sets={"codeforces": manifest().sets["codeforces"]})
    evaluate(tmp_path, Counting(), asked=one)
    more = Counting()
    evaluate(tmp_path, more)
    assert [len(uids) for uids in more.asked] == [8, 8, 4]
    assert contents(tmp_path) == contents(unbroken)
    assert list(evaluate(tmp_path, Counting(), asked=one).results().sets) == ["codeforces"]


def with_set(**changes):
    sets = manifest().sets
    return {"sets": {**sets, "codeforces": sets["codeforces"].model_copy(update=changes)}}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"engine": "other"}, r"the engine \(there: scripted\)"),
        ({"model": manifest().model.model_copy(update={"identity": "x"})}, r"the model \(there: models/model\)"),
        (
            {"sampling": manifest().sampling.model_copy(update={"temperature": 1.0, "seed": 1})},
            r"temperature \(there 0.6, now 1.0\), seed \(there 0, now 1\)",
        ),
        (with_set(samples_per_prompt=4), r"samples_per_prompt of codeforces \(there 3, now 4\)"),
        (with_set(identity="new"), "the problems of codeforces"),
    ],
)
def test_a_folder_with_another_evaluation_is_refused_and_left_as_it_was(unbroken, changes, told):
    before = contents(unbroken)
    with pytest.raises(ConfigError, match=f"holds another evaluation; what differs: {told}.*Choose another run.dir"):
        evaluate(unbroken, Counting(), asked=manifest(**changes))
    assert contents(unbroken) == before


def test_other_versions_are_told_and_no_reason_to_begin_anew(unbroken, tmp_path, caplog):
    evaluate(tmp_path, Counting())
    again = Counting()
    evaluate(tmp_path, again, asked=manifest(versions={"nemo_prorl": "1"}))
    assert again.asked == [] and "began with other versions of packages" in caplog.text
    assert EvaluationFolder(tmp_path).manifest().versions == manifest().versions, "those it began with"
    assert contents(tmp_path)["results.json"] == contents(unbroken)["results.json"]


def test_a_torn_file_of_a_killed_writer_is_not_taken_for_a_part(unbroken, tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "aime_2024-00000.parquet.abc123").write_bytes(b"PAR1 torn")
    evaluate(tmp_path, Counting())
    assert contents(tmp_path) == contents(unbroken)
