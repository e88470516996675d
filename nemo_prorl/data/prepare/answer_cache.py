"""What was paid for is kept: answers by key, appended to a file as they come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from nemo_prorl.data.prepare.files import writing


class AnswerCache:
    """A JSONL file {"key": ..., **answer}, read whole at the start; the half line of a killed process is dropped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answers: dict[str, Mapping[str, Any]] = {}
        good = 0
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
            self._file.seek(0)
            for line in self._file:
                try:
                    answer = json.loads(line)
                    if not line.endswith(b"\n"):
                        break
                    self._answers[answer["key"]] = answer
                except (ValueError, TypeError, KeyError):
                    break
                good += len(line)
            self._file.truncate(good)

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: str) -> Mapping[str, Any] | None:
        """The answer under a key, if it is there."""
        return self._answers.get(key)

    def put(self, key: str, answer: Mapping[str, Any]) -> None:
        """Keep an answer: it is in the file when this returns, whatever happens to the process."""
        self._answers[key] = {"key": key, **answer}
        with writing(self._path):
            self._file.write(json.dumps(self._answers[key], ensure_ascii=False).encode() + b"\n")
            self._file.flush()

    def __enter__(self) -> AnswerCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
