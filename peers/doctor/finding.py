"""What a check found."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How much a finding matters."""

    GOOD = "good"
    NOTE = "note"
    """Taking part works, with less than could be had."""
    WRONG = "wrong"
    """Taking part does not work until this is mended."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    check: str
    verdict: Verdict
    found: str
    remedy: str = ""
    """What a person can do about it; empty when there is nothing to do."""


def good(check: str, found: str) -> Finding:
    return Finding(check, Verdict.GOOD, found)


def note(check: str, found: str, remedy: str) -> Finding:
    return Finding(check, Verdict.NOTE, found, remedy)


def wrong(check: str, found: str, remedy: str) -> Finding:
    return Finding(check, Verdict.WRONG, found, remedy)
