"""Cells, the recurrence over them, and the networks around it."""
