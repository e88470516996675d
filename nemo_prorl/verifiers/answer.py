"""Where the final answer stands in a response. One pass each: a policy that repeats an open tag costs nothing more."""

from __future__ import annotations

import re

_LATEX_TOKEN = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)


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


def last_boxed(text: str) -> str | None:
    r"""What stands in the last \boxed{...} whose braces balance, stripped; of nested boxes the outer one.

    >>> last_boxed(r"\boxed{1}, or rather \boxed{\frac{1}{2}}")
    '\\frac{1}{2}'
    """
    open_braces: list[int | None] = []  # of a box: where its inside begins; None for any other brace
    answer = None
    for token in _LATEX_TOKEN.finditer(text):
        if token[0] == "{":
            open_braces.append(None)
        elif token[0].startswith("\\boxed"):
            open_braces.append(token.end())
        elif token[0] == "}" and open_braces:
            start = open_braces.pop()
            if start is not None:
                answer = (start, token.start())
    return None if answer is None else text[slice(*answer)].strip()
