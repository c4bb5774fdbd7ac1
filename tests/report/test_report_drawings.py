"""Marks are where the numbers are: axes have the right direction, scale and size."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from report_page import places

from morex.report.charts import (
    Dot,
    DotRow,
    Heat,
    HeatCell,
    Line,
    LineAxes,
    Overlap,
    Spot,
    dot_chart,
    heat_chart,
    line_chart,
    scatter_chart,
    upset_chart,
)
from morex.report.charts.svg import Scale, log_ticks, nice_ticks
from morex.report.images import data_address, magnification


def test_scales_are_linear_or_logarithmic() -> None:
    assert [Scale((0, 10), (100, 200))(v) for v in (0, 2.5, 10)] == [100, 125, 200]
    assert [Scale((0, 10), (200, 100))(v) for v in (0, 2.5, 10)] == [200, 175, 100]
    assert Scale((1, 100), (0, 1), log=True)(10) == pytest.approx(0.5)
    assert Scale((3, 3), (0, 1))(3) == 0.5


def test_ticks_are_round_and_cover_the_axis() -> None:
    assert nice_ticks(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert nice_ticks(12, 47, 4) == [10, 20, 30, 40, 50]
    assert [*log_ticks(3, 60)] == [5, 10, 20, 50]


def test_larger_shares_are_farther_to_the_right() -> None:
    dots = [Dot("s", 0, share, f"at {share}") for share in (0.0, 0.5, 1.0)]
    at = places(dot_chart([DotRow("row", dots)], "dots", title="t"))
    (x0, y0), (x1, y1), (x2, y2) = (at[f"at {share}"] for share in (0.0, 0.5, 1.0))
    assert x0 < x2
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.2)
    assert y0 == y1 == y2


def test_lines_rise_with_their_values() -> None:
    line = Line("l", 0, [(0, 0, "low"), (1, 50, "half"), (2, 100, "high")])
    at = places(line_chart([line], LineAxes("x", "y", (0, 100)), "lines"))
    assert at["low"][0] < at["half"][0] < at["high"][0]
    assert at["low"][1] > at["half"][1] > at["high"][1]
    assert at["half"][1] == pytest.approx((at["low"][1] + at["high"][1]) / 2, abs=0.2)


def test_spots_rise_with_their_share_and_costs_are_on_a_log_scale() -> None:
    spots = [Spot(n, "s", 0, x, y, n) for n, x, y in (("a", 1, 0.2), ("b", 10, 0.5), ("c", 100, 1))]
    at = places(scatter_chart(spots, "spots", x_title="x", y_title="y"))
    assert at["a"][1] > at["b"][1] > at["c"][1]
    assert at["b"][0] - at["a"][0] == pytest.approx(at["c"][0] - at["b"][0], abs=0.2)


def test_cells_darken_with_their_share_and_their_text_stays_legible() -> None:
    cells = [HeatCell(share, f"{share}", "tip") for share in (0.0, 0.5, 0.6, 1.0)]
    drawn = heat_chart(Heat(["row"], ["a", "b", "c", "d"], [cells]), "heat")
    assert re.findall(r'fill-opacity="([\d.]+)"', drawn) == ["0.04", "0.52", "0.62", "1"]
    light = re.findall(r'class="value( on)?"', drawn)
    assert light == ["", "", " on", " on"]


def test_bars_of_overlaps_are_as_high_as_their_counts() -> None:
    overlaps = [Overlap((), 8), Overlap(("fog",), 4), Overlap(("fog", "pgd"), 1)]
    drawn = upset_chart({"fog": 5, "pgd": 1}, overlaps, 13, "overlaps")
    heights = [float(h) for h in re.findall(r'width="16" height="([\d.]+)" class="mark bar', drawn)]
    assert heights == pytest.approx([heights[0], heights[0] / 2, heights[0] / 8], abs=0.1)
    widths = [float(w) for w in re.findall(r'width="([\d.]+)" height="14"', drawn)]
    assert widths == pytest.approx([widths[0], widths[0] / 5], abs=0.1)
    assert len(re.findall(r'class="dot on"', drawn)) == 3


@pytest.mark.parametrize(
    ("side", "kind", "shown"), [(40, "png", 40), (41, "webp", 41), (200, "webp", 64)]
)
def test_small_pictures_are_exact_and_large_ones_shrink(side: int, kind: str, shown: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, side, side)) / 255
    address = data_address(pixels)
    head, _, content = address.partition(",")
    assert head == f"data:image/{kind};base64"
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    assert picture.size == (shown, shown)
    if kind == "png":
        found = np.moveaxis(np.array(picture), -1, 0)
        assert (found == np.rint(255 * pixels)).all()


@pytest.mark.parametrize(("largest", "factor"), [(0.01, 50), (0.05, 10), (0.3, 1), (1, 1), (0, 50)])
def test_magnified_differences_fit_into_half_the_scale(largest: float, factor: int) -> None:
    assert magnification(np.array([0.0, -largest])) == factor
