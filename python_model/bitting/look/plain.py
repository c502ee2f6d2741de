"""Text that quotes files, made safe to look at."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """Text that a terminal or a page obeys in nothing: names in files may hold its commands.

    Args:
        text: any.
        keep: characters of it that stay. Other white space becomes a space, and what is not printable is written as Python
            does.
    """
    return "".join(
        letter
        if letter.isprintable() or letter in keep
        else " "
        if letter.isspace()
        else letter.encode("unicode_escape").decode()
        for letter in text
    )
