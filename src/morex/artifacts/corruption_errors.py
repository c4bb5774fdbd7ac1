"""The field's summaries of accuracies under common corruptions (Hendrycks & Dietterich 2019)."""

from collections.abc import Mapping

from morex.artifacts.outcomes import Outcomes

BENCHMARK = {
    "gaussian_noise": "gaussian-noise",
    "shot_noise": "shot-noise",
    "impulse_noise": "impulse-noise",
    "defocus_blur": "defocus-blur",
    "glass_blur": "glass-blur",
    "motion_blur": "motion-blur",
    "zoom_blur": "zoom-blur",
    "snow": "hendrycks-snow",
    "frost": "frost",
    "fog": "hendrycks-fog",
    "brightness": "brightness",
    "contrast": "contrast",
    "elastic_transform": "elastic",
    "pixelate": "pixelate",
    "jpeg_compression": "jpeg",
}
"""The 15 corruptions that count: the names of their published files, and of morex's generators.

The four others (speckle noise, Gaussian blur, spatter, saturation) are for validation.
"""

_SEVERITIES = range(1, 6)


def means_over_severities(outcomes: Outcomes) -> dict[str, float]:
    """Return the mean accuracy of each corruption, from rows named ``corruption-severity``."""
    rows_of: dict[str, list[str]] = {}
    for row in outcomes.rows:
        rows_of.setdefault(row.rpartition("-")[0], []).append(row)
    return {name: outcomes.mean(rows) for name, rows in rows_of.items()}


def is_complete(outcomes: Outcomes) -> bool:
    """Return whether there are rows for all five severities of all 15 corruptions."""
    published, ours = BENCHMARK, BENCHMARK.values()
    return any(
        {f"{name}-{severity}" for name in names for severity in _SEVERITIES} <= {*outcomes.rows}
        for names in (published, ours)
    )


def mean_corruption_error(
    means: Mapping[str, float], baseline: Mapping[str, float] | None = None
) -> float:
    """Return the mCE, mean_c E_c / B_c, with E_c the error averaged over five severities.

    On CIFAR-10-C and CIFAR-100-C the field takes B_c = 1, so that mCE is the mean error (Hendrycks
    et al. 2020, AugMix). On ImageNet-C, B_c is the error of AlexNet.

    Args:
        means: the accuracy of each corruption, averaged over its severities; those that are not
            among the 15 do not count.
        baseline: the same for the baseline, under the same names; without it B_c is 1.

    Raises:
        ValueError: if none of the corruptions is among the 15, or the baseline lacks one or makes
            no errors in one.
    """
    counted = [c for c in means if c in BENCHMARK or c in BENCHMARK.values()]
    if not counted:
        raise ValueError(f"mCE: expected corruptions such as fog, got {', '.join(means) or 'none'}")
    if baseline is None:
        return sum(1 - means[c] for c in counted) / len(counted)
    if missing := [c for c in counted if c not in baseline]:
        raise ValueError(f"mCE: the baseline has no accuracy for {', '.join(missing)}; add it")
    if perfect := [c for c in counted if baseline[c] >= 1]:
        raise ValueError(
            f"mCE: the baseline makes no errors in {', '.join(perfect)}, so nothing can be divided "
            "by them; take a weaker baseline"
        )
    return sum((1 - means[c]) / (1 - baseline[c]) for c in counted) / len(counted)
