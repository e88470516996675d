"""A process that makes problems of reasoning-gym: `python -m nemo_prorl.data.prepare.item_worker`.

It reads a job a line from stdin, writes the job's file, and answers each with a line. Some of reasoning-gym's items
depend on PYTHONHASHSEED, some on Python's and numpy's global generators, so the first is set by who starts us and the
others are seeded for each item: then an item is the same whichever process makes it, and after which others.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import re
import sys
import traceback
from contextlib import chdir, nullcontext
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

import numpy as np

from nemo_prorl.data.prepare.files import write_lines
from nemo_prorl.data.sources.base import digest
from nemo_prorl.data.sources.reasoning_gym import ITEMS_PER_SEED

# word_ladder refuses to be larger, though its items don't depend on that.
LARGEST_DATASET = 20_000
# Its items run third-party snippets, which may fail, or tell the time of day, memory addresses or process numbers.
SNIPPETS = "codeio"
_ASKS_THE_HOST = re.compile(
    r"\b(?:now|utcnow|today|time|localtime|gmtime|perf_counter|monotonic|uuid\d|urandom|getpid)\("
)


@lru_cache(maxsize=2)
def dataset_of(name: str, settings: str, seed: int) -> Any:
    """A data set of reasoning-gym; it is kept while its items are made, since some read hundreds of boards."""
    factory = importlib.import_module("reasoning_gym.factory")
    settings_of = {"size": LARGEST_DATASET, **json.loads(settings)}  # acre makes all its items at once
    return factory.create_dataset(name, seed=seed * ITEMS_PER_SEED, **settings_of)


def make_item(name: str, settings: str, seed: int, item: int) -> str:
    """The entry as JSON, {"question", "answer", "metadata"}, or {"failed": why}. Raises what wrong settings raise."""
    dataset_of(name, settings, seed)
    try:
        entry = _entry(name, settings, seed, item)
        if name == SNIPPETS and (problem := _snippet_problem(entry, _entry(name, settings, seed, item))):
            return json.dumps({"failed": problem})
    except Exception as error:
        return json.dumps({"failed": f"can't be made: {type(error).__name__}: {error}"})
    return entry


def _entry(name: str, settings: str, seed: int, item: int) -> str:
    state = int(digest(f"{name}/{seed}/{item}"), 16)
    random.seed(state)
    np.random.seed(state % 2**32)
    # In a folder of its own: a snippet may write files, and would find those of the one before.
    with TemporaryDirectory() if name == SNIPPETS else nullcontext(".") as folder, chdir(folder):
        # What isn't JSON, a few fractions among gsm_symbolic's variables, no scorer looks at.
        return json.dumps(dataset_of(name, settings, seed)[item], default=str, ensure_ascii=False)


def _snippet_problem(entry: str, again: str) -> str | None:
    made = json.loads(entry)
    if not made["metadata"]["input_data"] and not made["metadata"]["output_data"]:
        return "its snippet fails"
    if _ASKS_THE_HOST.search(made["question"]):
        return "its snippet asks for the time or the process"
    return None if entry == again else "differs when it is made again"


def work(jobs: TextIO, answers: TextIO) -> None:
    """Do jobs until there are no more: {"dataset", "settings", "seed", "start", "count", "path"}."""
    for line in jobs:
        job = json.loads(line)
        settings = json.dumps(job["settings"], sort_keys=True)
        items = range(job["start"], job["start"] + job["count"])
        try:
            entries = (make_item(job["dataset"], settings, job["seed"], item) + "\n" for item in items)
            write_lines(Path(job["path"]), entries)
            answer = {"done": job["count"]}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    ours = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # some generators print
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    work(sys.stdin, ours)
