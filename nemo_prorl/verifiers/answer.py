"""Where the final answer stands in a response. One pass each: a policy that repeats an open tag costs nothing more."""

from __future__ import annotations

import re

_PYTHON = re.compile(r"(?:python|py)[\d.]*")  # as labels of fences
_LIST_ITEM = re.compile(r"\s*(?:\d{1,9}[.)]|[-*+])\s+")


def last_tagged(text: str, tag: str = "answer") -> str | None:
    """What stands in the last closed <tag>...</tag>, stripped; None without one.

    It means what `reasoning_gym.utils.extract_answer` means, whose regular expression takes quadratic time on unclosed
    tags. An open tag inside an open one is part of the answer.

    >>> last_tagged("<answer>1</answer> no, <answer> 2 </answer>")
    '2'
    """
    opening, closing = f"<{tag}>", f"</{tag}>"
    answer, position = None, 0
    while (start := text.find(opening, position)) >= 0:
        start += len(opening)
        end = text.find(closing, start)
        if end < 0:
            break
        answer = text[start:end]
        position = end + len(closing)
    return None if answer is None else answer.strip()


def after_reasoning(text: str, *, begun: bool = False) -> str | None:
    """What follows the last </think>, all of a text without reasoning, and None if reasoning was never ended.

    `begun`: the prompt ends with <think>, so that the text is in the midst of reasoning from its first word on.

    >>> after_reasoning("<think>1 + 1?</think> 2")
    ' 2'
    """
    _, end, answer = text.rpartition("</think>")
    return None if "<think>" in answer or (begun and not end) else answer


def last_program(text: str) -> str | None:
    """The Python program in the last fenced block, without its fences; None if there is no block that may be one.

    A block labelled python, py or python3 comes before one without a label, which may as well be sample output; one in
    another language is never taken. A block that is never closed ends with the text, or where the next one labelled
    Python begins. A fence labelled Python may also follow words on its line: "1. ```python", "So: ```python".

    >>> last_program("Run this:\\n```python\\nprint(2)\\n```\\nIt prints\\n```\\n2\\n```")
    'print(2)\\n'
    """
    blocks: dict[str, list[str]] = {}  # the last one by label
    block: list[str] | None = None
    indentation = 0
    for line in text.splitlines(keepends=True):
        label = _label(line, alone=block is not None)
        is_python = label is not None and _PYTHON.fullmatch(label.partition(" ")[0]) is not None
        if label is not None and (block is None or is_python):
            indentation = _indentation(line)
            block = blocks["python" if is_python else label] = []
        elif block is not None and label == "":
            block = None
        elif block is not None:
            block.append(line[min(len(line) - len(line.lstrip(" \t")), indentation) :])
    found = blocks.get("python", blocks.get(""))
    return None if found is None else "".join(found)


def _label(line: str, *, alone: bool) -> str | None:
    """What a fence is labelled with; None for a line that is none. Unless it must stand `alone`, words may precede one
    that is labelled Python."""
    before, fence, label = line.strip().rpartition("```")
    label = label.strip().lower()
    if not fence or "`" in label or "```" in before.rstrip("`"):
        return None
    if not before.strip("`"):
        return label
    return label if not alone and _PYTHON.fullmatch(label) else None


def _indentation(line: str) -> int:
    """Of the fence on `line`, and so of what it encloses."""
    item = _LIST_ITEM.match(line)
    return item.end() if item else len(line) - len(line.lstrip())
