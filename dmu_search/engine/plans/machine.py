"""What a training runs on, as its record tells it."""

import platform
from collections.abc import Mapping
from pathlib import Path

import torch

from dmu_search.engine.kernels.native.build import build_name
from dmu_search.engine.training.trainer import Trainer

# Of a record's tags, those that tell what a training was computed by.
COMPUTED_BY = ("commit", "engine", "processor", "torch", "threads")


def machine_tags(trainer: Trainer) -> Mapping[str, str]:
    """``engine`` (backend and build), ``processor``, ``torch`` and ``threads``.

    Equal engines on processors of a kind give equal bits.
    """
    device, backend = trainer.task.device, trainer.backend.name
    on_gpu = device.type == "cuda"
    build = f" {build_name(trainer.task.dtype)}" if backend == "native" else ""
    return {
        "engine": backend + build,
        "processor": torch.cuda.get_device_name(device) if on_gpu else _processor(),
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()
