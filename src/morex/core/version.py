"""The version of the package, also where it is not installed."""

VERSION = "0.1.0"
