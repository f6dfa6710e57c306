"""``python -m dmu_search.engine PLAN OUT``: carries out a plan; needs torch and numpy only."""

import argparse
import sys
import time
from pathlib import Path

import torch

from dmu_search.engine.plans.plan_file import carry_out_plan
from dmu_search.engine.plans.runs import PlannedRun
from dmu_search.engine.training.trainer import EpochResult
from dmu_search.errors import DmuSearchError, TrialError
from dmu_search.exit_codes import BAD_INPUT, DONE, INTERRUPTED, SOME_FAILED
from dmu_search.folders import OutputFolder

_SPEAK_EVERY_S = 10.0


class _Progress:
    """A line for each training, and one about its epochs every so often."""

    def __init__(self) -> None:
        self._epochs = 0
        self._spoke_at = 0.0

    def begin(self, run: PlannedRun) -> None:
        self._epochs = run.training.max_epochs
        print(f"{run.name}: {run.training.replicas} replicas, {self._epochs} epochs", flush=True)

    def epoch(self, result: EpochResult) -> None:
        if time.monotonic() - self._spoke_at > _SPEAK_EVERY_S:
            self._spoke_at = time.monotonic()
            line = f"  epoch {result.epoch}/{self._epochs}, {result.wall_time_s:.2f} s per epoch"
            print(line, flush=True)


def main() -> int:
    """Carry out a plan; returns 0, 1 if a training failed, 2 on bad input, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m dmu_search.engine", description=__doc__)
    parser.add_argument("plan", type=Path, help="folder written by reproduce plan_only=true")
    parser.add_argument("out", type=Path, help="folder of records and weights")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cpu", "cuda"), default=default)
    words = parser.parse_args()
    progress = _Progress()
    try:
        carry_out_plan(
            words.plan,
            words.out,
            device=words.device,
            on_begin=progress.begin,
            on_epoch=progress.epoch,
            on_problem=lambda problem: print(f"warning: {problem}", file=sys.stderr),
        )
    except KeyboardInterrupt:
        print("interrupted; the same command resumes it", file=sys.stderr)
        return INTERRUPTED
    except DmuSearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return SOME_FAILED if isinstance(error, TrialError) else BAD_INPUT
    print(
        f"all done; bring it in with `python -m dmu_search sync {OutputFolder(words.out).records}`"
    )
    return DONE


if __name__ == "__main__":
    sys.exit(main())
