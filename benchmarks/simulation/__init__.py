"""Searches on a simulated cluster, over recorded or predicted trainings: see docs/search.md."""
