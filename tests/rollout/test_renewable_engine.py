"""An engine that breaks, in each of its verbs."""

import pytest

from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.errors import EngineFailedError, RolloutError, WeightsError
from nemo_prorl.rollout.engine import in_order
from nemo_prorl.rollout.renewable_engine import RenewableEngine
from tests.rollout.stand_ins import prompt


class Brittle:
    """Fails in `verb` with `error`; completions are numbers here."""

    def __init__(self, verb=None, error=None):
        self.verb, self.error, self.closed, self.asked = verb, error, False, []

    def _do(self, verb):
        self.asked.append(verb)
        if verb == self.verb:
            raise self.error

    def load_weights(self, stream):
        next(iter(stream))
        self._do("load_weights")
        list(stream)

    def generate(self, prompts, sampling):
        yield 0
        self._do("generate")
        yield 1

    def release(self):
        self._do("release")

    def close(self):
        self.closed = True


def weights(taken):
    for number in range(3):
        taken.append(number)
        yield "name", number


def renewable(*engines):
    made = iter(engines)
    return RenewableEngine(lambda: next(made))


def test_a_failure_while_it_generates_is_told_as_its_own_and_a_new_one_gives_the_same():
    broken, whole = Brittle("generate", MemoryError("no room")), Brittle()
    engine = renewable(broken, whole)
    with pytest.raises(EngineFailedError, match=r"\(Brittle\) has failed: MemoryError: no room"):
        list(engine.generate([], None))
    engine.renew_if_failed()
    assert broken.closed
    assert list(engine.generate([], None)) == [0, 1]
    engine.renew_if_failed()
    assert list(engine.generate([], None)) == [0, 1], "one that is well is left alone"


def test_one_that_fails_while_it_takes_weights_lets_the_others_export_theirs_and_says_so_when_asked():
    engine, taken = renewable(Brittle("load_weights", OSError("gone")), Brittle()), []
    engine.load_weights(weights(taken))
    assert taken == [0, 1, 2], "the export is collective: it must be followed to its end"
    with pytest.raises(EngineFailedError, match="gone"):
        list(engine.generate([], None))
    engine.renew_if_failed()
    assert list(engine.generate([], None)) == [0, 1]


def test_one_that_fails_to_release_is_not_trusted_again():
    engine = renewable(Brittle("release", RuntimeError("stuck")), Brittle())
    engine.release()
    with pytest.raises(EngineFailedError, match="stuck"):
        list(engine.generate([], None))


def test_one_that_has_failed_is_asked_nothing_more_and_weights_pass_it_by():
    """A dead engine may never answer, and the export of the weights is collective."""
    broken, taken = Brittle("generate", RuntimeError("device-side assert")), []
    engine = renewable(broken)
    with pytest.raises(EngineFailedError):
        list(engine.generate([], None))
    engine.release()
    engine.load_weights(weights(taken))
    assert broken.asked == ["generate"]
    assert taken == [0, 1, 2]


def test_one_that_cannot_be_made_anew_has_failed_again():
    def made():
        yield Brittle("generate", MemoryError())
        raise OSError("no device")

    engines = made()
    engine = RenewableEngine(lambda: next(engines))
    with pytest.raises(EngineFailedError):
        list(engine.generate([], None))
    engine.renew_if_failed()
    with pytest.raises(EngineFailedError, match="no device"):
        list(engine.generate([], None))


@pytest.mark.parametrize(
    ("verb", "error"), [("generate", RolloutError("no room for a response")), ("load_weights", WeightsError("missing"))]
)
def test_what_it_can_explain_is_not_its_failure(verb, error):
    engine = renewable(Brittle(verb, error))
    with pytest.raises(type(error), match=str(error)) as raised:
        engine.load_weights(weights([]))
        list(engine.generate([], None))
    assert not isinstance(raised.value, EngineFailedError)


def test_weights_that_cannot_be_exported_are_no_failure_of_the_engine():
    def torn():
        yield "name", 0
        raise RuntimeError("gloo: connection closed by peer")

    engine = renewable(Brittle())
    with pytest.raises(Exception, match="connection closed by peer"):
        engine.load_weights(torn())
    assert list(engine.generate([], None)) == [0, 1]


def test_a_bug_of_the_engine_inside_is_told_as_that_engines():
    with pytest.raises(RolloutError, match=r"gave samples \[\] of prompt 'a', expected each of 0 to 1; .* in Brittle"):
        in_order({}, prompt("a"), SamplingParams(2, max_response_tokens=8, context_tokens=32), renewable(Brittle()))
