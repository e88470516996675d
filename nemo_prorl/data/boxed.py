"""What a text puts into \\boxed{...}: a model's response, or a published solution."""

from __future__ import annotations

import re

_LATEX_TOKEN = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)


def last_boxed(text: str) -> str | None:
    r"""What stands in the last \boxed{...} whose braces balance, stripped; of nested boxes the outer one.

    >>> last_boxed(r"\boxed{1}, or rather \boxed{\frac{1}{2}}")
    '\\frac{1}{2}'
    """
    open_braces: list[int | None] = []  # of a box: where its inside begins; None for any other brace
    answer = None
    first = text.find("\\boxed")
    if first < 0:
        return None
    while first > 0 and text[first - 1] == "\\":  # \\boxed breaks a line and says "boxed"
        first -= 1
    for token in _LATEX_TOKEN.finditer(text, first):
        if token[0] == "{":
            open_braces.append(None)
        elif token[0].startswith("\\boxed"):
            open_braces.append(token.end())
        elif token[0] == "}" and open_braces:
            start = open_braces.pop()
            if start is not None:
                answer = (start, token.start())
    return None if answer is None else text[slice(*answer)].strip()
