"""What comes of a bad update, on an optimizer that is told what its gradients are."""

import json

import pytest
import torch

from nemo_prorl.algorithm.reduction import Max, Mean
from nemo_prorl.config.updates import BadUpdatesConfig
from nemo_prorl.errors import BadUpdateError, TrainingError
from nemo_prorl.update_guard import Rewind, UpdateGuard

GOOD = {"policy/loss": Mean(torch.tensor(2.0), torch.tensor(1))}
BAD = {**GOOD, "policy/ratio_max": Max(torch.tensor(float("inf")))}


class Told:
    """An optimizer whose gradients have these norms; nan: not finite."""

    def __init__(self, *norms):
        self.norms, self.stepped = list(norms), 0

    def step(self, *, objection="", norm_limit=None):
        norm = self.norms.pop(0)
        if objection or norm != norm:
            raise BadUpdateError(f"not finite {objection}")
        if norm_limit is not None and norm > norm_limit:
            raise BadUpdateError(f"norm {norm} above {norm_limit}", is_spike=True)
        self.stepped += 1
        return {"optimizer/grad_norm": Mean(torch.tensor(norm), torch.tensor(1))}


NAN = float("nan")


def guarded(*norms, **settings):
    optimizer = Told(*norms)
    return optimizer, UpdateGuard(optimizer, BadUpdatesConfig(**settings))


def test_a_good_update_goes_through_with_its_metrics():
    optimizer, guard = guarded(1.0)
    assert guard.step(GOOD).keys() == {"policy/loss", "optimizer/grad_norm"}
    assert guard.counts() == {"optimizer/skipped_updates": 0.0, "optimizer/rewinds": 0.0}
    assert optimizer.stepped == 1


def test_a_bad_update_is_skipped_with_its_metrics_and_counted():
    optimizer, guard = guarded(NAN, 1.0, 1.0)
    assert guard.step(GOOD) == {}
    assert guard.step(GOOD) != {}
    assert guard.step(BAD) == {}, "a metric that is not finite is an objection"
    assert guard.counts()["optimizer/skipped_updates"] == 2
    assert optimizer.stepped == 1


def test_too_many_in_a_row_end_the_run_and_a_good_one_between_them_starts_anew():
    _, guard = guarded(NAN, NAN, 1.0, NAN, NAN, NAN, max_skips_in_a_row=2)
    for _ in range(5):
        guard.step(GOOD)
    with pytest.raises(TrainingError, match=r"3 updates in a row were bad"):
        guard.step(GOOD)


def test_stop_ends_the_run_at_once():
    _, guard = guarded(NAN, not_finite="stop")
    with pytest.raises(TrainingError, match="no weight was changed"):
        guard.step(GOOD)


def test_a_spike_is_so_many_times_the_median_of_the_updates_before():
    """A window of 4: two must be known. Median of 1 and 3 is 2, so 20 times that is 40; then of 1, 3, 40: 3, so 60."""
    optimizer, guard = guarded(1.0, 3.0, 40.0, 61.0, 60.0, spike="skip", spike_window_updates=4)
    assert [bool(guard.step(GOOD)) for _ in range(5)] == [True, True, True, False, True]
    assert optimizer.stepped == 4


def test_without_a_remedy_a_spike_is_no_fault():
    _, guard = guarded(*[1.0] * 30, 1e6)
    assert all(guard.step(GOOD) for _ in range(31))


def test_going_back_to_the_same_checkpoint_again_and_again_ends_the_run():
    _, guard = guarded(NAN, not_finite="rewind", max_rewinds_in_a_row=2)
    with pytest.raises(Rewind, match="not finite"):
        guard.step(GOOD)
    guard.rewound(4)
    guard.rewound(4)
    guard.rewound(6)
    guard.rewound(6)
    with pytest.raises(TrainingError, match="from the checkpoint of step 6 on an update was bad 3 times"):
        guard.rewound(6)
    assert guard.counts()["optimizer/rewinds"] == 5


def test_it_remembers_what_it_needs():
    """Resumed in the midst of it, a guard judges as the one that went on."""
    norms = [1.0, 3.0, NAN, 40.0, 61.0, 60.0, NAN]
    settings = {"spike": "skip", "spike_window_updates": 4}
    _, unbroken = guarded(*norms, **settings)
    whole = [bool(unbroken.step(GOOD)) for _ in norms]
    _, first = guarded(*norms[:3], **settings)
    begun = [bool(first.step(GOOD)) for _ in norms[:3]]
    _, second = guarded(*norms[3:], **settings)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert begun + [bool(second.step(GOOD)) for _ in norms[3:]] == whole
    assert second.counts() == unbroken.counts()
