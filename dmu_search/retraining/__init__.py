"""Trainings without a search: which settings, which seeds are still missing, and their files."""
