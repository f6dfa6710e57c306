"""Which implementation the engine computes with: C++, or PyTorch's own operations."""

import os
from dataclasses import dataclass

import torch

from dmu_search.engine.native.build import native_problem
from dmu_search.errors import ConfigError

# In order of preference: what one cannot do, the next one does.
BACKENDS = ("native", "reference")
# Environment variable that names the one to use.
BACKEND_VARIABLE = "DMU_SEARCH_BACKEND"


@dataclass(frozen=True)
class BackendChoice:
    """What runs the recurrence and the products around it.

    Attributes:
        name: a key of ``BACKENDS``.
        reason: why this one, in a few words.
    """

    name: str
    reason: str


def choose_backend(device: torch.device, dtype: torch.dtype) -> BackendChoice:
    """The backend in use for such tensors, and why; builds the native one if need be.

    The first of ``BACKENDS`` that can do it, unless ``DMU_SEARCH_BACKEND`` names one. A compiler
    that is missing or fails is warned about once.

    Raises:
        ConfigError: if ``DMU_SEARCH_BACKEND`` names none, or ``native`` where that cannot be had.
    """
    wanted = os.environ.get(BACKEND_VARIABLE, "")
    if wanted and wanted not in BACKENDS:
        raise ConfigError(
            f"{BACKEND_VARIABLE}: must be one of {', '.join(BACKENDS)}, got {wanted!r}; "
            "leave it out for the fastest one"
        )
    if wanted == "reference":
        return BackendChoice("reference", f"{BACKEND_VARIABLE}={wanted}")
    problem = native_problem(device, dtype)
    if problem is None:
        reason = f"{BACKEND_VARIABLE}={wanted}" if wanted else "built on this machine"
        return BackendChoice("native", reason)
    if wanted:
        raise ConfigError(
            f"{BACKEND_VARIABLE}={wanted}: {problem}; mend that, or leave the variable out "
            "for PyTorch's slower loop"
        )
    return BackendChoice("reference", problem)
