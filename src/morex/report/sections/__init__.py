"""The sections of the report page: functions from the material of a run to a section or None."""
