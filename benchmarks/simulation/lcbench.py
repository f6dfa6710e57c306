"""LCBench: multilayer perceptrons on 34 OpenML tasks, by the surrogate of YAHPO Gym.

Zimmer, Lindauer, Hutter, "Auto-PyTorch" (2021); Pfisterer et al., "YAHPO Gym" (2022). The folder
holds `model.onnx`, `config_space.json`, `encoding.json` and `priors/`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dmu_search.config.compose import read_plain
from dmu_search.config.distributions import Interval
from dmu_search.config.keys import Value
from dmu_search.errors import ConfigError
from simulation.problems import Training

# Samplers and schedulers are chosen on these; the other tasks are for a final check only.
DEVELOPMENT_TASKS = (
    *("7593", "126025", "126026", "146212", "167149", "167152", "167168", "167181", "167184"),
    *("167190", "167200", "168329", "168330", "168335", "168908", "189862", "189865", "189873"),
    *("189906", "189909"),
)
EPOCHS = 52
# The surrogate's order of inputs and outputs.
_INPUTS = (
    *("batch_size", "learning_rate", "momentum", "weight_decay", "num_layers", "max_units"),
    "max_dropout",
)
_TIME, _OBJECTIVE = 0, 2
BEST_KNOWN = Path(__file__).parent / "best_known.json"


class Surrogate:
    """The network that predicts curves, on one thread.

    Args:
        folder: of LCBench.

    Attributes:
        tasks: OpenML numbers of all tasks.
        space: the seven hyperparameters.
        folder: as given.

    Raises:
        ConfigError: a file, or `onnxruntime`, is missing.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ConfigError(
                "onnxruntime is missing; `pip install -c constraints.txt -e '.[bench]'`"
            ) from None
        if not (folder / "model.onnx").is_file():
            raise ConfigError(f"--lcbench {folder}: has no model.onnx; give LCBench's folder")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        encoding = json.loads((folder / "encoding.json").read_text())
        description = json.loads((folder / "config_space.json").read_text())
        parts = {each["name"]: each for each in description["hyperparameters"]}
        self._codes: Mapping[str, int] = encoding["OpenML_task_id"]
        self.tasks: tuple[str, ...] = tuple(parts["OpenML_task_id"]["choices"])
        self.space = {name: _interval(parts[name]) for name in _INPUTS}
        self.folder = folder

    def predict(
        self, task: str, settings: Sequence[Mapping[str, Value]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Validation cross entropy after each epoch, and seconds of a whole training.

        Args:
            task: its OpenML number.
            settings: of the space.

        Returns:
            ``(setting, epoch)`` and ``(setting,)``.
        """
        rows = np.array([[each[name] for name in _INPUTS] for each in settings], dtype=np.float64)
        inputs = np.empty((len(settings), EPOCHS, 1 + len(_INPUTS)), dtype=np.float32)
        inputs[:, :, 0] = np.arange(1, EPOCHS + 1)
        inputs[:, :, 1:] = rows[:, None, :]
        flat = inputs.reshape(-1, 1 + len(_INPUTS))
        codes = np.full((len(flat), 1), self._codes[task], dtype=np.int32)
        (outputs,) = self._session.run(None, {"x_cat": codes, "x_cont": flat})
        shaped = np.asarray(outputs, dtype=np.float64).reshape(len(settings), EPOCHS, -1)
        return shaped[:, :, _OBJECTIVE], shaped[:, -1, _TIME]


class LCBench:
    """One task of LCBench.

    Args:
        surrogate: shared by all tasks of a process.
        task: its OpenML number.

    Raises:
        ConfigError: LCBench has no such task.
    """

    max_epochs = EPOCHS
    scale: Literal["linear", "log"] = "linear"

    def __init__(self, surrogate: Surrogate, task: str) -> None:
        if task not in surrogate.tasks:
            raise ConfigError(
                f"--tasks {task}: LCBench has no such task; it has {', '.join(surrogate.tasks)}"
            )
        self.name = task
        self.space = surrogate.space
        self._surrogate = surrogate
        self._known: dict[tuple[Value, ...], Training] = {}

    def begin(self) -> "LCBench":
        """Itself: any setting can be trained, any number of times."""
        return self

    def train(self, values: Mapping[str, Value]) -> Training:
        """The curve that the surrogate predicts, in one call."""
        key = tuple(values[name] for name in _INPUTS)
        if key not in self._known:
            losses, seconds = self._surrogate.predict(self.name, [values])
            best = np.minimum.accumulate(losses[0])
            self._known[key] = Training(tuple(best.tolist()), float(seconds[0]) / EPOCHS)
        return self._known[key]

    def prior(self, quality: str) -> dict[str, Value]:
        """The setting of ``priors/``, within the space's bounds.

        Raises:
            ConfigError: the task has none.
        """
        file = self._surrogate.folder / "priors" / f"{self.name}-{quality}.yaml"
        if not file.is_file():
            raise ConfigError(f"--prior {quality}: task {self.name} has no {file.name}")
        guess = read_plain(file)
        return {name: _within(guess[name], interval) for name, interval in self.space.items()}

    def best_known(self) -> float:
        """By `benchmarks/best_known.py`."""
        return float(json.loads(BEST_KNOWN.read_text())[self.name])


def _interval(part: Mapping[str, Any]) -> Interval:
    return Interval(
        part["lower"], part["upper"], log=part["log"], integer=part["type"] == "uniform_int"
    )


def _within(value: float, interval: Interval) -> float:
    """The bounds of two editions of the space differ in their last digits."""
    return min(max(value, interval.low), interval.high)
