"""SVG elements, scales and ticks for the charts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, floor, log10

from markupsafe import Markup, escape

SERIES = 8
"""The number of series that look different."""

_NARROW = frozenset(" ()[]-.,:;'|!ijlftr")
_WIDE = frozenset("MWOQmw%@#&^+=<>~")


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """Return an element, all escaped; ``_`` in names becomes ``-``, a trailing one is dropped."""
    written = (
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(map(escape, children))
    return Markup(f"<{name}{''.join(written)}>{inner}</{name}>")


def _plain(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def picture(width: float, height: float, description: str, *marks: object) -> Markup:
    """Return an SVG of ``width`` x ``height`` that keeps its size where there is room."""
    return element(
        "svg",
        element("title", description),
        *marks,
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        role="img",
        class_="chart-svg",
    )


def text(
    x: float,
    y: float,
    words: object,
    *,
    anchor: str = "start",
    class_: str = "",
    series: str | None = None,
) -> Markup:
    """Return a text; ``anchor`` is start, middle or end, ``series`` what it belongs to."""
    return element(
        "text", words, data_series=series, x=x, y=y, text_anchor=anchor, class_=class_ or None
    )


def width_of(words: str) -> float:
    """Return the width of a label in pixels, roughly and rather too large."""
    return sum(map(_width_of_one, words))


def _width_of_one(letter: str) -> float:
    if letter in _NARROW:
        return 5.0
    if letter in _WIDE or not letter.isascii():
        return 12.0
    return 9.3 if letter.isupper() else 7.7


def segment(
    x1: float, y1: float, x2: float, y2: float, class_: str, *, series: str | None = None
) -> Markup:
    """Return a straight line; ``series`` is what it belongs to."""
    return element("line", data_series=series, x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def colour(slot: int) -> str:
    """Return the class that gives a series its colour."""
    return f"s{slot % SERIES}"


def stroke(slot: int) -> str:
    """Return the classes that give the line of a series its colour and dashes."""
    return f"line {colour(slot)} d{slot % SERIES}"


def marker(slot: int, x: float, y: float, tip: str, series: str, size: float = 4.5) -> Markup:
    """Return the mark of a series: its shape, with the text shown on hover."""
    return element(
        "path",
        element("title", tip),
        d=_SHAPES[slot % len(_SHAPES)](x, y, size),
        class_=f"mark {colour(slot)}",
        data_series=series,
    )


def _polygon(corners: Sequence[tuple[float, float]], x: float, y: float, size: float) -> str:
    points = (f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in corners)
    return f"M{' L'.join(points)} Z"


def _circle(x: float, y: float, size: float) -> str:
    half = f"a{size},{size} 0 1,0"
    return f"M{x - size:.1f},{y:.1f} {half} {2 * size},0 {half} {-2 * size},0 Z"


_SQUARE = ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85))
_UP = ((0, -1.15), (1.1, 0.8), (-1.1, 0.8))
_DIAMOND = ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0))
_DOWN = tuple((x, -y) for x, y in _UP)
_PLUS = (
    (-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4),
    (0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4),
)  # fmt: skip
_CROSS = tuple(((x - y) * 0.75, (x + y) * 0.75) for x, y in _PLUS)
_LEFT = tuple((y, x) for x, y in _UP)


_CORNERS = (_DIAMOND, _SQUARE, _UP, _CROSS, _DOWN, _PLUS, _LEFT)
_SHAPES: tuple[Callable[[float, float, float], str], ...] = (
    _circle,
    *(partial(_polygon, corners) for corners in _CORNERS),
)


@dataclass(frozen=True)
class Scale:
    """A linear map from numbers to positions; with ``log``, from their logarithms."""

    domain: tuple[float, float]
    range: tuple[float, float]
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the position of a number."""
        low, high, at = (self._unit(v) for v in (*self.domain, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.range[0] + share * (self.range[1] - self.range[0])

    def _unit(self, value: float) -> float:
        return log10(value) if self.log else value


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about ``count`` round numbers that cover [low, high]: steps of 1, 2 or 5."""
    raw = max(high - low, 1e-12) / count
    power = 10.0 ** floor(log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(step * k, 10) for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> Iterator[float]:
    """Yield 1, 2 and 5 times powers of ten within [low, high]."""
    for power in range(floor(log10(low)), ceil(log10(high)) + 1):
        for m in (1, 2, 5):
            if low <= m * 10.0**power <= high:
                yield m * 10.0**power
