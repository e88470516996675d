from multiprocessing import get_context

import pytest

from nemo_prorl.errors import WeightsError
from nemo_prorl.weights.work_folder import JOURNAL, work_folder

JOB = {"source": "a", "dtype": "bf16"}


class Killed(BaseException):
    """What no handler of ours catches."""


def work(path, job=JOB, *, finish=("one", "two"), stop=None, needs_bytes=0):
    """Do the parts that aren't done; what was done before. `stop`: raised after the first new one."""
    with work_folder(path, job=job, needs_bytes=needs_bytes) as folder:
        before = dict(folder.done)
        for name in finish:
            if name not in folder.done:
                (folder.path / name).write_text(name)
                folder.note(name, {"length": len(name)})
                if stop is not None:
                    raise stop
    return before


def test_the_folder_is_there_when_all_is_done_and_its_list_is_not(tmp_path):
    assert work(tmp_path / "deep" / "model") == {}
    assert sorted(path.name for path in (tmp_path / "deep" / "model").iterdir()) == ["one", "two"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model"]


def test_what_was_killed_goes_on_where_it_was(tmp_path):
    with pytest.raises(Killed):
        work(tmp_path / "model", stop=Killed())
    assert not (tmp_path / "model").exists()
    with (tmp_path / "model.partial" / JOURNAL).open("a") as journal:
        journal.write('{"name": "tw')  # the line that it was killed in
    assert work(tmp_path / "model") == {"one": {"length": 3}}
    assert (tmp_path / "model" / "two").read_text() == "two"


def test_another_job_starts_anew(tmp_path):
    with pytest.raises(Killed):
        work(tmp_path / "model", stop=Killed())
    assert work(tmp_path / "model", JOB | {"dtype": "fp32"}, finish=["three"]) == {}
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["three"]


def test_an_error_of_ours_leaves_nothing(tmp_path):
    with pytest.raises(WeightsError, match="the source is damaged"):
        work(tmp_path / "model", stop=WeightsError("the source is damaged"))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_what_is_done_and_says_how_to_go_on(tmp_path):
    with pytest.raises(WeightsError, match=r"No space left.*model\.partial: start the same conversion again"):
        work(tmp_path / "model", stop=OSError(28, "No space left on device"))
    assert work(tmp_path / "model") == {"one": {"length": 3}}


def test_too_small_a_disk_is_told_before_anything_is_written(tmp_path):
    with pytest.raises(WeightsError, match=r"model needs \d+ bytes and its disk has \d+ free"):
        work(tmp_path / "model", needs_bytes=10**15)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.tex").touch()
    with pytest.raises(WeightsError, match="model is not empty"):
        work(tmp_path / "model")


def told(path, queue):
    try:
        work(path)
        queue.put("")
    except WeightsError as error:
        queue.put(str(error))


def test_two_processes_do_not_write_the_same_folder(tmp_path):
    """The other process finds the lock held, says so, and leaves the work of the first alone."""
    context = get_context("fork")
    queue = context.Queue()
    with work_folder(tmp_path / "model", job=JOB, needs_bytes=0) as folder:
        folder.note("one", {})
        other = context.Process(target=told, args=(tmp_path / "model", queue))
        other.start()
        assert "another process is writing" in queue.get(timeout=30)
        other.join(60)
        (folder.path / "one").touch()
    assert (tmp_path / "model" / "one").exists()


def test_nobody_else_gets_at_a_folder_that_is_done_and_not_yet_called_by_its_name(tmp_path, monkeypatch):
    def put_in_place(partial, path):
        with pytest.raises(WeightsError, match="another process is writing"), work_folder(path, job=JOB, needs_bytes=0):
            pass
        partial.rename(path)

    monkeypatch.setattr("nemo_prorl.weights.work_folder.put_in_place", put_in_place)
    work(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["one", "two"]
