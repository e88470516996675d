"""What the parsers of all commands have in common."""

from __future__ import annotations

import argparse


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
