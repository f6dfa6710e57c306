"""The Python interface; ``import dmu_search as ds`` has its names, imported at their first use."""
