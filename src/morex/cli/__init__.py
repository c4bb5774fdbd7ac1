"""The command line: ``morex run | plan | recipes | table | evaluate | predict``."""

from morex.cli.main import main

__all__ = ["main"]
