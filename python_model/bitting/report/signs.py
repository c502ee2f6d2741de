"""A sign for each standing, so that none is told by its colour alone."""

from __future__ import annotations

from bitting.report.verdicts import Standing

SIGNS = {
    Standing.FALLS: "\N{BALLOT X}",
    Standing.VOID: "\N{CIRCLED DIVISION SLASH}",
    Standing.CONCEDED: "\N{CIRCLE WITH LEFT HALF BLACK}",
    Standing.HOLDS: "\N{CHECK MARK}",
    Standing.NOT_APPLICABLE: "\N{EN DASH}",
    Standing.UNTESTED: "?",
}
