"""Numbers as people read them in a terminal; a hyphen for what is not known."""

_UNITS = ("B", "kB", "MB", "GB", "TB")
UNKNOWN = "-"


def bytes_of(count: int | None) -> str:
    """Bytes with a decimal unit, three significant digits."""
    if count is None:
        return UNKNOWN
    size, unit = float(count), 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    digits = 0 if unit == 0 or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:.{digits}f} {_UNITS[unit]}"


def figure(value: float | None, digits: int = 3) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def seconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def ago(value: float) -> str:
    """How long ago, roughly."""
    if value < 8:
        return "now"
    if value < 90:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.0f} h"
