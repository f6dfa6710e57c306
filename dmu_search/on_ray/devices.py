"""The device that Ray gave the current worker."""

import os

import ray
import torch


def assigned_device() -> str:
    """``cuda`` or ``cpu``; sets the number of threads, and the cap on GPU memory.

    Recent Ray leaves CUDA_VISIBLE_DEVICES alone for work without a GPU, so it is hidden here.
    """
    assigned: dict[str, float] = ray.get_runtime_context().get_assigned_resources()
    if "GPU" not in assigned:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(max(1, int(assigned.get("CPU", 1.0))))
    if "GPU" not in assigned or not torch.cuda.is_available():
        return "cpu"
    # A logical share isolates no memory; the cap makes greedy work fail alone.
    torch.cuda.set_per_process_memory_fraction(min(1.0, assigned["GPU"]))
    return "cuda"
