"""Searches on a simulated cluster, over recorded or predicted trainings: see docs/search.md."""

# Ray reads the settings that this module makes when it is imported, here or by others later.
import dmu_search.on_ray  # noqa: F401
