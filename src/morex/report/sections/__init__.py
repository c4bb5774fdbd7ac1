"""The parts of the report page: each a function from a run's material to a section, or to None."""
