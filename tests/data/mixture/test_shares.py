"""How weights become shares."""

from collections import Counter

import pytest

from nemo_prorl.data.blend import Blend
from nemo_prorl.data.mixture import Mixture, Weighting
from nemo_prorl.data.mixture.shares import shares_in, streams_of
from nemo_prorl.errors import DataError


def shares(sources, weighting=None, blend=None):
    streams = streams_of(sources, 0, weighting or Weighting())
    found = shares_in(blend or Blend(), streams)
    return {stream.name: share / sum(found) for stream, share in zip(streams, found, strict=True)}


@pytest.fixture
def sources(list_source):
    """`large`: 90 math rows, `small`: 10, of which 8 are code; weights alike."""
    large = list_source([f"l {i}" for i in range(90)])
    small = list_source([f"s {i}" for i in range(10)], ["math"] * 2 + ["code"] * 8)
    return {"large": (large, 1.0), "small": (small, 1.0)}


def test_weights_as_given_are_those_of_sources_whatever_their_size(sources):
    assert shares(sources) == pytest.approx({"large/math": 0.5, "small/code": 0.4, "small/math": 0.1})


def test_weights_by_size_give_every_row_the_same_chance(sources):
    expected = {"large/math": 0.9, "small/code": 0.08, "small/math": 0.02}
    assert shares(sources, Weighting(by_size=True)) == pytest.approx(expected)


def test_a_temperature_raises_shares_to_its_inverse(sources):
    """T = 2: sqrt(0.9) = 0.94868 and sqrt(0.1) = 0.31623 are 3/4 and 1/4 of their sum."""
    found = shares(sources, Weighting(by_size=True, temperature=2.0))
    assert found == pytest.approx({"large/math": 0.75, "small/code": 0.2, "small/math": 0.05})


def test_a_high_temperature_makes_sources_equal(sources):
    found = shares(sources, Weighting(by_size=True, temperature=1e9))
    assert found["large/math"] == pytest.approx(0.5)


def test_a_stages_source_weights_take_the_place_of_the_sources_own(sources):
    found = shares(sources, blend=Blend(source_weights={"large": 1, "small": 9}))
    assert found == pytest.approx({"large/math": 0.1, "small/code": 0.72, "small/math": 0.18})
    assert shares(sources, blend=Blend(source_weights={"small": 1}))["large/math"] == 0


def test_domain_weights_hold_among_the_sources_that_are_drawn(sources):
    """Half code, half math; of math `small` has 0.18 to 0.1 of `large`."""
    found = shares(sources, blend=Blend({"code": 1, "math": 1}, source_weights={"large": 1, "small": 9}))
    assert found == pytest.approx({"large/math": 0.5 * 0.1 / 0.28, "small/code": 0.5, "small/math": 0.5 * 0.18 / 0.28})


def test_an_excluded_domain_is_not_drawn_whatever_the_weights(sources):
    without = frozenset({"code"})
    expected = {"large/math": 0.5 / 0.6, "small/code": 0.0, "small/math": 0.1 / 0.6}
    assert shares(sources, blend=Blend(exclude_domains=without)) == pytest.approx(expected)
    weighted = Blend({"code": 5, "math": 1}, exclude_domains=without)
    assert shares(sources, blend=weighted) == pytest.approx(expected)
    with pytest.raises(DataError, match=r"the stage excludes code, math, which is all that its sources have"):
        shares(sources, blend=Blend(exclude_domains=frozenset({"code", "math"})))


def test_weights_for_what_is_not_drawn_are_refused(sources):
    with pytest.raises(DataError, match=r"source_weights draws from 'other', but there are only large, small"):
        shares(sources, blend=Blend(source_weights={"other": 1.0}))
    with pytest.raises(DataError, match=r"'code', but no source has such problems; the sources have math"):
        shares(sources, blend=Blend({"code": 1.0}, source_weights={"large": 1.0}))
    with pytest.raises(DataError, match=r"source_weights={'large': 0.0} draws from no source"):
        shares(sources, blend=Blend(source_weights={"large": 0.0}))


def test_a_source_without_end_has_no_size_to_weigh_by(list_source):
    with pytest.raises(DataError, match=r"data\.sources\.a never ends, so data\.weighting=by_size can't weigh it"):
        shares({"a": (list_source(["1?"], endless=True), 1.0)}, Weighting(by_size=True))


def test_a_source_leaves_its_share_to_the_others_after_its_last_epoch(sources, tokenizer):
    settings = {"seed": 1, "max_prompt_tokens": 99, "max_epochs": {"small": 2}}
    mixture = Mixture(sources, tokenizer, **settings)
    drawn = Counter(mixture.draw(1)[0].messages[0]["content"][0] for _ in range(200))
    assert drawn == {"s": 20, "l": 180}
    assert mixture.metrics()["data/epochs/small/code"] == 2.0


def test_when_every_source_is_over_the_run_is_told_so(sources, tokenizer):
    settings = {"seed": 1, "max_prompt_tokens": 99, "max_epochs": {"small": 1, "large": 1}}
    mixture = Mixture(sources, tokenizer, **settings)
    uids = [prompt.messages[0]["content"] for _ in range(100) for prompt in mixture.draw(1)]
    assert len(set(uids)) == 100
    with pytest.raises(DataError, match="walked max_epochs times"):
        mixture.draw(1)
