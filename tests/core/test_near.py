"""The nearest name to one that is not known."""

import pytest

from morex.core.near import did_you_mean, nearest, not_among


@pytest.mark.parametrize(
    ("name", "known", "found"),
    [
        ("clen", ["Minf", "clean", "cleaner"], "clean"),
        ("LINF", ["l2", "linf"], "linf"),
        ("minf", ["mfog", "Minf", "MINF"], "Minf"),
        (100, [10, 7], "10"),
        ("xyz", ["clean"], None),
        ("clean", [], None),
        ("", ["clean"], None),
    ],
)
def test_the_nearest_is_found_in_upper_and_lower_case(
    name: object, known: list[object], found: str | None
) -> None:
    assert nearest(name, known) == found
    assert did_you_mean(name, known) == ("" if found is None else f"did you mean {found!r}? ")


def test_all_names_are_listed() -> None:
    assert not_among("row", "foq", ["fog", "snow"]) == (
        "no row 'foq'; did you mean 'fog'? there are fog, snow"
    )
    assert not_among("row", "x", []) == "no row 'x'; there are none"
