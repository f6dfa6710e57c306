"""What the engine computes with: CUDA graphs, C++, or PyTorch operation by operation."""

import os
from dataclasses import dataclass

import torch

from dmu_search.engine.kernels.native.build import native_problem
from dmu_search.errors import ConfigError

# The first is for GPUs, the second for CPUs; the last does what they cannot do.
BACKENDS = ("graphs", "native", "reference")
# Environment variable that names the one to use.
BACKEND_VARIABLE = "DMU_SEARCH_BACKEND"


@dataclass(frozen=True)
class BackendChoice:
    """What runs the recurrence and the products around it, or whole training steps.

    Attributes:
        name: a key of ``BACKENDS``.
        reason: why this one, in a few words.
    """

    name: str
    reason: str


def choose_backend(device: torch.device, dtype: torch.dtype) -> BackendChoice:
    """The backend in use for such tensors, and why; builds the native one if need be.

    The fastest for the device that can do it, unless ``DMU_SEARCH_BACKEND`` names one. A compiler
    that is missing or fails is warned about once.

    Raises:
        ConfigError: if ``DMU_SEARCH_BACKEND`` names none, or one that cannot be had here.
    """
    wanted = os.environ.get(BACKEND_VARIABLE, "")
    if wanted and wanted not in BACKENDS:
        raise ConfigError(
            f"{BACKEND_VARIABLE}: must be one of {', '.join(BACKENDS)}, got {wanted!r}; "
            "leave it out for the fastest one"
        )
    if wanted == "reference":
        return BackendChoice("reference", f"{BACKEND_VARIABLE}={wanted}")
    name = wanted or ("graphs" if device.type == "cuda" else "native")
    problem = _graphs_problem(device) if name == "graphs" else native_problem(device, dtype)
    if problem is None:
        reason = {"graphs": "recorded on this GPU", "native": "built on this machine"}[name]
        return BackendChoice(name, f"{BACKEND_VARIABLE}={wanted}" if wanted else reason)
    if wanted:
        raise ConfigError(
            f"{BACKEND_VARIABLE}={wanted}: {problem}; mend that, or leave the variable out "
            "for the fastest one that there is"
        )
    return BackendChoice("reference", problem)


def _graphs_problem(device: torch.device) -> str | None:
    return None if device.type == "cuda" else f"CUDA graphs need a GPU, not the {device.type}"
