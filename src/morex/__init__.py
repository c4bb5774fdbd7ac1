"""morex: Mixtures of Robust Experts."""
