"""What the parsers of all commands have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def option_parser(prog: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """A parser that shows its examples as they are written, and takes no option that is typed by half."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description[:1].upper() + description[1:],
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def positive(text: str) -> int:
    """The type of an option that takes a whole number above 0."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return number


def seconds(least: float, most: float) -> Callable[[str], float]:
    """The type of an option that takes a time from `least` to `most` seconds."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from {least:g} to {most:g}")
        return number

    return read
