"""One pass over the training data: batch by batch as it comes, or by recorded steps."""

import gc
import warnings
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from dmu_search.engine.kernels.backend import BackendChoice, choose_backend
from dmu_search.engine.kernels.buckets import FixedBatch
from dmu_search.engine.networks.cells import recurrent_block
from dmu_search.engine.settings import NetworkSettings
from dmu_search.engine.tasks.base import Bucketed, Task
from dmu_search.engine.training.step import TrainingStep

# As many as PyTorch's notes on CUDA graphs have: libraries set themselves up in the first ones.
WARM_UP_CALLS = 3

Replay = Callable[[], object]


class Pass(Protocol):
    """Trains on all batches of an epoch.

    Attributes:
        problem: why it does not run as it was meant to, in a sentence; None if it does.
    """

    problem: str | None

    def __call__(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Mean loss on the way, ``(replica,)`` on the CPU; generators, one per replica, advance."""


class Runner(Protocol):
    """Makes a step that can be repeated."""

    def record(self, step: Replay) -> Replay:
        """Something that does what ``step`` does; that may be called for it, with all effects."""


class EagerRunner:
    """Repeats a step by calling it: the same arithmetic as recorded, on any device."""

    def record(self, step: Replay) -> Replay:
        """The step itself, after a call."""
        step()
        return step


class GraphRunner:
    """Records a step as a CUDA graph: one launch instead of thousands.

    All graphs share one pool of memory, which is that of the largest. They may, because none leaves
    anything there for another or for a reader: what a step keeps lies in tensors made before.

    See "CUDA graphs" in PyTorch's notes on CUDA semantics, whole-network capture.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        # One for warming up and recording, so that what libraries set up for a stream is ready.
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def record(self, step: Replay) -> Replay:
        """Call the step a few times on a side stream, then record it there.

        Raises:
            RuntimeError: PyTorch's, if the step cannot be recorded or memory is out.
        """
        before = torch.cuda.current_stream(self._stream.device)
        graph = torch.cuda.CUDAGraph()
        try:
            self._stream.wait_stream(before)
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UP_CALLS):
                    step()
            before.wait_stream(self._stream)
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                step()
        finally:
            # A recording that fails may not get as far as to give the stream back itself.
            torch.cuda.set_stream(before)
        return graph.replay


class PlainPass:
    """Runs each batch as it comes, in its own shape, and hands on what it carries."""

    problem: str | None = None

    def __init__(self, step: TrainingStep) -> None:
        self._step = step

    def __call__(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Train on all batches."""
        carry = None
        step = self._step
        for batch in step.task.train_batches(generators, step.training):
            carry = step(batch, carry)
        return step.take_mean()


class BucketedPass:
    """Records the step once for each bucket and replays it, with the batch copied in.

    Within an epoch the CPU never waits for the GPU: losses add up there, and lengths are known
    here. All is recorded before the first one.

    If a step cannot be recorded, a warning says why, and the training goes on with the same
    arithmetic, operation by operation.

    Args:
        step: of a task that is ``Bucketed``.
        runner: how to record.
    """

    def __init__(self, step: TrainingStep, runner: Runner) -> None:
        self.problem: str | None = None
        self._step = step
        self._task: Any = step.task
        self._runner = runner
        self._recorded: dict[Hashable, tuple[FixedBatch, Replay]] = {}

    def __call__(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Train on all batches."""
        if not self._recorded:
            self._recorded = self._record_or_not()
        for batch in self._task.bucketed_batches(generators, self._step.training.batch_size):
            own, replay = self._recorded[batch.bucket]
            for place, values in zip(own.tensors, batch.tensors, strict=True):
                place.copy_(values, non_blocking=True)
            replay()
        return self._step.take_mean()

    def _record_or_not(self) -> dict[Hashable, tuple[FixedBatch, Replay]]:
        try:
            return self._record()
        except RuntimeError as fault:  # what PyTorch raises for CUDA's errors and for no memory
            if isinstance(self._runner, EagerRunner):
                raise
            self.problem = f"no CUDA graphs, several times slower: {_one_line(fault)}"
            warnings.warn(self.problem, RuntimeWarning, stacklevel=2)
        # Only here, because the fault holds on to what was recorded so far, and to its memory.
        self._runner = EagerRunner()
        return self._record()

    def _record(self) -> dict[Hashable, tuple[FixedBatch, Replay]]:
        """The step over the tensors of one batch of each bucket, which take in later ones."""
        # What was recorded for an earlier trial of this process may wait in a reference cycle.
        gc.collect()
        training = self._step.training
        recorded: dict[Hashable, tuple[FixedBatch, Replay]] = {}
        for batch in self._task.bucket_examples(training.replicas, training.batch_size):
            with self._step.unchanged():
                replay = self._runner.record(partial(self._step, batch))
            recorded[batch.bucket] = batch, replay
        return recorded


def _one_line(fault: Exception) -> str:
    return " ".join(str(fault).split())[:300]


def training_backend(
    task: type[Task[Any, Any]],
    device: torch.device,
    *,
    dtype: torch.dtype,
    network: NetworkSettings | None = None,
) -> BackendChoice:
    """What trains a task, and why that.

    CUDA graphs take a task with buckets, the native loop cells that have a program for it; the
    plain loop takes all others.

    Args:
        task: what is learned.
        device: where.
        dtype: in which precision.
        network: what learns it; None for any.
    """
    choice = choose_backend(device, dtype)
    if choice.name == "graphs" and not issubclass(task, Bucketed):
        return BackendChoice("reference", f"{task.__name__} has no batches of fixed shapes")
    if choice.name == "native" and network is not None:
        for cell in recurrent_block(1, network):
            if cell.program is None:
                name = type(cell).__name__
                return BackendChoice("reference", f"{name} has no program for the native loop")
    return choice


def default_runner(task: Task[Any, Any]) -> Runner | None:
    """What records the steps of a task by the backend in use; None if nothing does."""
    choice = training_backend(type(task), task.device, dtype=task.dtype)
    return GraphRunner(task.device) if choice.name == "graphs" else None
