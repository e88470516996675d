"""Instructions that even a tiny model follows now and then: digits that an answer should have, or should not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nemo_prorl.data.prompt import Row
from nemo_prorl.data.sources.base import as_messages
from nemo_prorl.errors import DataError

DIGITS = range(10)
PAIRS = tuple((wanted, unwanted) for wanted in DIGITS for unwanted in DIGITS if wanted != unwanted)


class SmallInstructions:
    """90 problems of the instruction domain, each of two instructions: a digit to use, and one to leave out."""

    tasks = ("digits",)
    size = len(PAIRS)

    def __init__(self, name: str = "small_instructions") -> None:
        self.name = name

    @property
    def domains(self) -> Mapping[str, Sequence[int] | None]:
        return {"instruction": range(self.size)}

    def row(self, index: int) -> Row:
        if not 0 <= index < self.size:
            raise DataError(f"source {self.name!r} has rows 0 to {self.size - 1}; row {index} was asked for")
        wanted, unwanted = PAIRS[index]
        return Row(
            uid=f"digits-{wanted}-{unwanted}",
            domain="instruction",
            task="digits",
            source=self.name,
            messages=as_messages(f"Write some number. Use {wanted}. Leave out {unwanted}.", None, None),
            verifier="instruction",
            reference={
                "instruction_id_list": ["keywords:existence", "keywords:letter_frequency"],
                "kwargs": [
                    {"keywords": [str(wanted)]},
                    {"letter": str(unwanted), "let_frequency": 1, "let_relation": "less than"},
                ],
            },
        )
