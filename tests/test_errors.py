"""Exit codes are told in one place, and the documentation says the same."""

import inspect
import re

from nemo_prorl import errors
from nemo_prorl.errors import FINAL_CODES, ProRLError
from tests.house.source import ROOT

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ProRLError)]
ROW = re.compile(r"^ +[│├└─ ]*(\w+) +(?:exit code )?(\d+) +(again|no)\b", re.MULTILINE)


def test_the_table_of_errors_has_every_class_with_its_code_and_whether_to_start_again():
    table = {name: (int(code), again) for name, code, again in ROW.findall(errors.__doc__ or "")}
    assert table == {kind.__name__: (kind.exit_code, said(kind.exit_code)) for kind in CLASSES}


def test_the_page_on_runs_says_the_same_of_every_code():
    rows = re.findall(
        r"^\| ([\d, ]+)(?:, or [^|]*)? \|[^|]*\| (yes|no)", (ROOT / "docs/runs.md").read_text(), re.MULTILINE
    )
    told = {int(code): again for codes, again in rows for code in codes.split(",")}
    for kind in CLASSES:
        assert told[kind.exit_code] == ("no" if kind.exit_code in FINAL_CODES else "yes"), kind


def said(code):
    return "no" if code in FINAL_CODES else "again"
