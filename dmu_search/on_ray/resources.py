"""How much of the machine or cluster one trial gets, and how many trials that makes."""

import math
from dataclasses import dataclass
from pathlib import Path

from dmu_search.config.settings import ResourceSettings
from dmu_search.errors import ConfigError

# Ray counts resources in ten-thousandths; rounding down keeps n shares within the whole.
_GRAIN = 10_000
# Room for what a measurement of one epoch does not see: fragmentation, a larger batch's scratch.
_MEMORY_MARGIN = 1.2


@dataclass(frozen=True)
class TrialShare:
    """What one trial is given, and how many run at a time.

    Attributes:
        cpus: cores per trial; below 1 when GPUs carry more trials than there are cores.
        gpus: share of one GPU, or whole GPUs, per trial; 0 to train on the CPU.
        concurrent: trials at a time.
    """

    cpus: float
    gpus: float
    concurrent: int


def trial_share(
    settings: ResourceSettings,
    *,
    cpus: float,
    gpus: float,
    measured_gpu_share: float | None,
    max_concurrent: int | None,
) -> TrialShare:
    """Derive shares and concurrency.

    Args:
        settings: what the user asked for.
        cpus: cores that may be used.
        gpus: GPUs that may be used.
        measured_gpu_share: what one trial needs of a GPU; used where ``gpus_per_trial=auto``.
        max_concurrent: the user's limit.

    Raises:
        ConfigError: a trial asks for more than there is.
    """
    gpu = _gpu_share(settings, gpus, measured=measured_gpu_share)
    by_gpu = _fit_on_gpus(gpu, gpus)
    if settings.cpus_per_trial != "auto":
        cpu = float(settings.cpus_per_trial)
    elif gpu == 0:
        cpu = 1.0
    else:
        # A measured share is also bounded by the cores that have to feed the cards; a share that
        # the user names is taken at its word.
        if settings.gpus_per_trial == "auto":
            by_gpu = max(1, min(by_gpu, int(cpus)))
        cpu = min(1.0, math.floor(cpus / by_gpu * _GRAIN) / _GRAIN)
    by_cpu = math.floor(cpus / cpu + 1e-9)
    if by_cpu == 0:
        raise ConfigError(
            f"resources.cpus_per_trial: one trial wants {cpu:g} cores and there are {cpus:g}; "
            "lower it or raise resources.cpus"
        )
    return TrialShare(cpu, gpu, int(min(by_gpu, by_cpu, max_concurrent or math.inf)))


def check_shared_folder(settings: ResourceSettings, output_dir: Path) -> None:
    """Check that ``output_dir`` can mean the same place on every machine of a cluster.

    Raises:
        ConfigError: it is relative.
    """
    if settings.address is not None and not output_dir.is_absolute():
        raise ConfigError(
            f"output_dir={output_dir}: on a cluster (resources.address) results lie in one place "
            f"that every machine sees; give its absolute path, such as output_dir="
            f"{output_dir.absolute()}"
        )


def idle(share: TrialShare, *, cpus: float, gpus: float, max_concurrent: int | None) -> str | None:
    """What of the machine or cluster no trial uses, and why, in words; None where that is little.

    Args:
        share: what each trial gets.
        cpus: cores that may be used.
        gpus: GPUs that may be used.
        max_concurrent: the user's limit.
    """
    trials = f"{share.concurrent} trial{'s' if share.concurrent > 1 else ''}"
    used = math.ceil(share.concurrent / _fit_on_gpus(share.gpus, 1)) if 0 < share.gpus < 1 else 0
    used = used or int(share.concurrent * share.gpus)
    limited = share.concurrent == max_concurrent
    if gpus - used >= 1:
        why = f"{cpus:g} cores feed {trials}"
        if share.gpus == 0:
            why = "resources.gpus_per_trial=0"
        elif limited:
            why = f"search.max_concurrent={max_concurrent}"
        elif share.gpus > 1:
            why = f"one trial takes {share.gpus:g}"
        return f"{gpus - used:g} of {gpus:g} GPUs: {why}"
    spare = cpus - share.concurrent * share.cpus
    if share.gpus or spare < 1:
        return None
    why = (
        f"search.max_concurrent={max_concurrent}" if limited else f"one trial takes {share.cpus:g}"
    )
    return f"{spare:g} of {cpus:g} CPU cores: {why}"


def share_for_memory(needed_bytes: int, total_bytes: int) -> float:
    """The share of a GPU whose memory holds one trial: 1/n for the most trials that fit."""
    fitting = max(1, int(total_bytes / (needed_bytes * _MEMORY_MARGIN)))
    return math.floor(_GRAIN / fitting) / _GRAIN


def _gpu_share(settings: ResourceSettings, gpus: float, *, measured: float | None) -> float:
    if settings.gpus_per_trial == "auto":
        return (measured or 1.0) if gpus else 0.0
    share = float(settings.gpus_per_trial)
    if share > gpus:
        raise ConfigError(
            f"resources.gpus_per_trial: one trial wants {share:g} GPUs and there are {gpus:g}; "
            "lower it, use auto, or 0 to train on the CPU"
        )
    if share > 1 and share != int(share):
        raise ConfigError(
            f"resources.gpus_per_trial: above 1 only whole GPUs can be given, got {share:g}; "
            f"use {math.ceil(share)}"
        )
    return share


def _fit_on_gpus(share: float, gpus: float) -> float:
    """How many trials the GPUs hold; fractions are of one card and never add up across cards."""
    if share == 0:
        return math.inf
    per_card = math.floor(1 / share + 1e-9)
    return per_card * int(gpus) if share < 1 else gpus // share
