"""Numbers and words in the form in which people read them."""

from collections.abc import Sequence

_JOINERS = "\u200c\u200d"  # they shape letters of some scripts


def printable(text: str) -> str:
    """Return text in which control characters, such as those that a terminal obeys, are escaped."""
    return "".join(
        c if c.isprintable() or c in "\n\t" or c in _JOINERS else ascii(c)[1:-1] for c in text
    )


def percent(share: float) -> str:
    """Return a share in [0, 1] as a percentage with one decimal, such as ``41.2%``."""
    return f"{100 * share:.1f}%"


def points(share: float | None) -> float | None:
    """Return a share in [0, 1] in percentage points, rounded to one decimal; None stays None."""
    return None if share is None else round(100 * share, 1)


def fraction(value: float) -> str:
    """Return ``8/255`` for 8/255, and four digits such as ``0.5`` for what is no grey level."""
    levels = value * 255
    if float(f"{value:.4g}") != value and round(levels) and abs(levels - round(levels)) < 1e-6:
        return f"{round(levels)}/255"
    return f"{value:.4g}"


def p_value(p: float) -> str:
    """Return a p-value with four decimals, or ``<0.0001`` below that: it is never 0."""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365.25 * 86400


def duration(seconds: float) -> str:
    """Return ``4.2 s``, ``3 min 07 s``, ``2 h 05 min``, ``3 days 4 h`` or ``12 years``."""
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{plural(days, 'day')} {hours} h" if seconds < _YEAR else _years(seconds)


def rough_duration(seconds: float) -> str:
    """Return ``42 s``, ``7 min``, ``2.5 h``, ``3.1 days`` or ``12 years``, for estimates."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * _MINUTE:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.1f} h"
    return f"{seconds / _DAY:.1f} days" if seconds < _YEAR else _years(seconds)


def _years(seconds: float) -> str:
    years = seconds / _YEAR
    return f"{years:.1f} years" if years < 10 else f"{years:,.0f} years"


def count(number: float) -> str:
    """Return ``12``, ``3.4 k``, ``5.6 M``, ``7.8 G`` or ``9.1 T``."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f}"


def three_digits(number: int) -> str:
    """Return a number with three digits and a unit: ``950``, ``25.2k`` or ``1.15M``."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:#.3g}".rstrip(".") + unit
    return str(number)


def round_number(number: float) -> str:
    """Return a round number with a unit, for the ticks of an axis: ``500``, ``20k`` or ``1M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{unit}"
    return f"{number:g}"


def memory(size: float) -> str:
    """Return bytes as MiB or GiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def with_article(noun: str) -> str:
    """Return ``a Linear`` or ``an int``."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def plural(count: int, noun: str) -> str:
    """Return ``1 model`` or ``2 models``."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def listed(words: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
