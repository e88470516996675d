"""The report says what the records say: hand-worked tables, pictures that are there, and honest words on spread."""

import json
import struct

import pytest

from nemo_prorl.analysis.history import Change, RunHistory, mean_curve
from nemo_prorl.analysis.report import write_report
from nemo_prorl.errors import DataError

SCORES = {  # task: pass@1 before, after; pass@16 before, after
    "lcm": (0.1, 0.3, 0.5, 0.75),
    "bits": (0.2, 0.2, 0.5, 0.25),
    "all": (0.15, 0.25, 0.5, 0.5),
}


def write_run(folder, *, shift=0.0, resets=(2,), validated=(0, 3)):
    records = []
    for number, step in enumerate(validated):
        scores = {f"validation/{task}/pass_at_1": s[number] + shift * number for task, s in SCORES.items()}
        scores |= {f"validation/{task}/pass_at_16": s[2 + number] for task, s in SCORES.items()}
        records.append({"step": step, "kind": "validation", "time/unix_seconds": 1.0, **scores})
    for step in (1, 2, 3):
        record = {"step": step, "kind": "train", "note": "s1", "reward/sampled_mean": step / 4, "policy/entropy": 0.5}
        records.append(record if step == 3 else {**record, "kl/reference": 0.01 * step})
    records += [{"step": step, "kind": "reset", "note": f"reason at {step}"} for step in resets]
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def png_size(path):
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", data[16:24])


def test_one_run_as_a_table_with_resets_and_pictures(tmp_path):
    run = write_run(tmp_path / "run")
    path = write_report(tmp_path, {"seed 0": run}, title="Quick", introduction="Hello.", sections=[("Cost", "1 s")])
    text = path.read_text()
    assert text.startswith("# Quick\n\nHello.\n")
    assert (
        "| task | pass@1 before | pass@1 after | pass@1 gain | pass@16 before | pass@16 after | pass@16 gain |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| bits | 0.200 | 0.200 | +0.000 | 0.500 | 0.250 | -0.250 |\n"
        "| lcm | 0.100 | 0.300 | +0.200 | 0.500 | 0.750 | +0.250 |\n"
        "| **mean over tasks** | 0.150 | 0.250 | +0.100 | 0.500 | 0.500 | +0.000 |\n"
    ) in text
    assert "step 0. After: step 3. One run" in text
    assert "- step 2: reason at 2" in text
    assert text.endswith("## Cost\n\n1 s\n")
    for name in ("training.png", "validation.png"):
        assert f"]({name})" in text
        width, height = png_size(tmp_path / name)
        assert width == 1500
        assert height > 400
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.md", "run", "training.png", "validation.png"]


def test_several_runs_give_mean_and_spread(tmp_path):
    """lcm gains +.2 and +.4: mean +.3."""
    runs = {f"seed {n}": write_run(tmp_path / str(n), shift=0.2 * n) for n in (0, 1)}
    text = write_report(tmp_path, runs, title="Quick").read_text()
    assert "| lcm | 0.100 (0.100 to 0.100) | 0.400 (0.300 to 0.500) | +0.300 (+0.200 to +0.400) |" in text
    assert "Mean of 2 runs (seed 0, seed 1)" in text
    assert "- seed 1, step 2: reason at 2" in text


def test_a_reset_is_marked_in_the_pictures(tmp_path):
    pictures = []
    for resets in ((), (2,)):
        run = write_run(tmp_path / str(len(resets)) / "run", resets=resets)
        write_report(run.parent, {"seed 0": run}, title="Quick")
        pictures.append([(run.parent / name).read_bytes() for name in ("training.png", "validation.png")])
    assert all(without != marked for without, marked in zip(*pictures, strict=True))
    assert "No resets." in (tmp_path / "0" / "report.md").read_text()


def test_curves_leave_out_steps_without_the_metric(tmp_path):
    history = RunHistory.read(write_run(tmp_path / "run"), "me")
    assert history.curve("kl/reference") == [(1, 0.01), (2, 0.02)]
    assert history.validation_curve("validation/lcm/pass_at_1") == [(0, 0.1), (3, 0.3)]
    assert (history.tasks, history.ks) == (["bits", "lcm"], [1, 16])


def test_a_mean_curve_has_the_steps_that_all_runs_have():
    assert mean_curve([[(1, 1.0), (2, 2.0)], [(2, 4.0), (3, 5.0)]]) == [(2, 3.0)]
    assert mean_curve([]) == []


def test_gains_are_taken_run_by_run(tmp_path):
    runs = [RunHistory.read(write_run(tmp_path / str(n), shift=0.25 * n), str(n)) for n in (0, 1)]
    assert Change.of(runs, "bits", 1).gains == pytest.approx([0.0, 0.25])


def test_a_run_without_a_second_validation_is_named(tmp_path):
    run = write_run(tmp_path / "run", validated=(0,))
    with pytest.raises(DataError, match=r"'seed 0' has 1 records.*need two"):
        write_report(tmp_path, {"seed 0": run}, title="Quick")


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no training step.*run\.dir"):
        RunHistory.read(tmp_path, "x")
