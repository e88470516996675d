"""What a report is made of: folders, each known by what lies in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemo_prorl.analysis.boundary_section import boundary_section
from nemo_prorl.analysis.evaluation_section import evaluation_samples, evaluation_section
from nemo_prorl.analysis.records import ANALYSIS, Analysis
from nemo_prorl.analysis.run_page import SAMPLES_BUDGET, RunPage
from nemo_prorl.analysis.run_record import RunRecord
from nemo_prorl.analysis.samples import pack_samples, samples_of_run
from nemo_prorl.analysis.story import story_of
from nemo_prorl.errors import DataError
from nemo_prorl.evaluation.folder import MANIFEST, RESULTS, EvaluationFolder
from nemo_prorl.telemetry.attempts import ATTEMPTS, RECORD_FILE
from nemo_prorl.telemetry.records import METRICS_FILE, SAMPLES_FILE, VALIDATION_SAMPLES_FILE
from nemo_prorl.telemetry.status import STATUS_FILE, read_status

# Where evaluations and analyses of a run are found without being named.
BELOW_A_RUN = ("evaluations/*", "analysis", "analyses/*")
PASSING = ("heartbeat_unix_seconds", "eta_unix_seconds", "phase")


@dataclass(frozen=True)
class Sources:
    """At most one run; evaluations in the order in which tables have them; at most one analysis."""

    run: Path | None
    evaluations: Sequence[Path]
    analysis: Path | None

    @classmethod
    def of(cls, folders: Sequence[Path]) -> Sources:
        """
        Raises:
            DataError: a folder is none of the three, or there are two runs, or two analyses.
        """
        runs, evaluations, analyses = [], [], []
        for folder in [*folders, *_below(folders)]:
            if (folder / ANALYSIS).is_file():
                analyses.append(folder)
            elif _is_evaluation(folder):
                evaluations.append(folder)
            elif (folder / METRICS_FILE).is_file() or (folder / STATUS_FILE).is_file():
                runs.append(folder)
            else:
                raise DataError(
                    f"{folder} is not the folder of a run, of an evaluation or of an analysis: it has none of "
                    f"{METRICS_FILE}, {STATUS_FILE}, {MANIFEST}, {ANALYSIS}. Give a run.dir, or what `prorl evaluate` "
                    "or `prorl analyze` has written"
                )
        for what, found in (("run", runs), ("analysis", analyses)):
            if len(found) > 1:
                raise DataError(
                    f"a report is about one {what}, and these are {len(found)}: {', '.join(map(str, found))}. Write a "
                    "report of each"
                )
        run, analysis = (next(iter(found), None) for found in (runs, analyses))
        return cls(run, list(dict.fromkeys(evaluations)), analysis)

    def told(self) -> list[str]:
        """A line for each folder."""
        named = [("run", self.run), *(("evaluation", path) for path in self.evaluations), ("analysis", self.analysis)]
        return [f"{what}: {path}" for what, path in named if path is not None]

    def state(self) -> tuple[Any, ...]:
        """What changes when there is something new to show: sizes and times of files, and what the run says of itself.

        That it is still alive is nothing new, nor which phase of a step it is in.
        """
        status = {} if self.run is None else read_status(self.run)
        said = {key: value for key, value in status.items() if key not in PASSING}
        return said, tuple((str(file), *_stamp(file)) for file in sorted(self._files()))

    def page(self, title: str) -> RunPage:
        """Read everything, and say it.

        Raises:
            DataError: something can't be read.
        """
        folders = [EvaluationFolder(path) for path in self.evaluations]
        finished = [folder.results() for folder in folders if folder.is_finished()]
        more = [evaluation_section(finished)] if finished else []
        if self.analysis is not None:
            more.append(boundary_section(Analysis.read(self.analysis)))
        if self.run is not None:
            record, samples = RunRecord.read(self.run), samples_of_run(self.run)
        else:
            record, samples = RunRecord(self.evaluations[0] if self.evaluations else self.analysis or Path(), ()), []
        samples += [evaluation_samples(folder) for folder in folders]
        return RunPage(title, story_of(record, more=more), pack_samples(samples, budget=SAMPLES_BUDGET))

    def _files(self) -> Iterator[Path]:
        if self.run is not None:
            names = (METRICS_FILE, SAMPLES_FILE, VALIDATION_SAMPLES_FILE)
            yield from (self.run / name for name in names)
            yield from (self.run / ATTEMPTS).glob(f"*/{RECORD_FILE}")
        yield from (path / RESULTS for path in self.evaluations)
        if self.analysis is not None:
            yield self.analysis / ANALYSIS


def _below(folders: Sequence[Path]) -> Iterator[Path]:
    """Evaluations and analyses that lie in the folders, where they aren't named themselves."""
    named = {folder.resolve() for folder in folders}
    for folder in folders:
        for pattern in BELOW_A_RUN:
            for path in sorted(folder.glob(pattern)):
                if path.resolve() not in named and (_is_evaluation(path) or (path / ANALYSIS).is_file()):
                    yield path


def _is_evaluation(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() and not (folder / METRICS_FILE).is_file()


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
