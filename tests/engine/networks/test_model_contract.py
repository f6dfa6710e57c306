"""Every model keeps the contract of a cell."""

from dmu_search.names import MODELS
from dmu_search.testing import CellContract

for _model in MODELS:
    globals()[f"Test_{_model}"] = type(f"Test_{_model}", (CellContract,), {"model": _model})
