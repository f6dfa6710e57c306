"""Recorded steps against the plain loop, as far as a CPU can: the same buckets, run eagerly."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks import task_class
from dmu_search.engine.tasks.adding import Adding
from dmu_search.engine.tasks.base import Bucketed
from dmu_search.engine.tasks.polymusic import PolyMusic
from dmu_search.engine.training.passes import EagerRunner, GraphRunner, Runner, training_backend
from dmu_search.engine.training.step import TrainingStep
from dmu_search.engine.training.trainer import Trainer
from dmu_search.names import MODELS, TASKS
from tests.engine.conftest import BUCKETED, small_task

# Powers of two, which the recordable optimiser's learning rates in single precision hold exactly.
SETTINGS = TrainingSettings(
    2.0**-6, weight_decay=1e-3, gamma=0.5, batch_size=3, max_epochs=4, replicas=3, seed=7
)
every_pair = pytest.mark.parametrize(
    ("model", "task"),
    [
        # Quick is one of each kind.
        pytest.param(model, task, marks=[] if quick else [pytest.mark.slow])
        for model in MODELS
        for task in BUCKETED
        for quick in [(model, task) in (("dmu", "polymusic"), ("gru", "adding"))]
    ],
)


def trainer_of(
    task: str = "polymusic",
    network: NetworkSettings | None = None,
    dtype: torch.dtype = torch.float64,
    runner: Runner | None = None,
    **changes: Any,
) -> Trainer:
    settings = dataclasses.replace(SETTINGS, **changes)
    network = network or NetworkSettings("dmu", (6, 5))
    return Trainer(small_task(task, dtype), network, training=settings, runner=runner)


def assert_same(plain: Trainer, bucketed: Trainer, epochs: int, tolerance: float) -> None:
    for _ in range(epochs):
        expected, got = plain.run_epoch(), bucketed.run_epoch()
        for name, values in expected.metrics.items():
            assert got.metrics[name] == pytest.approx(values, rel=tolerance), name
    for name, weight in plain.weights.items():
        torch.testing.assert_close(
            bucketed.weights[name], weight, rtol=tolerance, atol=tolerance, msg=name
        )


@every_pair
def test_buckets_train_as_packed_batches_do(model: str, task: str) -> None:
    network = NetworkSettings(model, (5, 5))
    own = {"gradient_clipping": "norm", "gradient_clip_norm": 0.1}
    plain = trainer_of(task, network, **own)
    bucketed = trainer_of(task, network, runner=EagerRunner(), **own)
    # Float64 rounding, which Adam's division by small gradients can amplify early on.
    assert_same(plain, bucketed, epochs=2, tolerance=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("task", BUCKETED)
def test_so_they_do_in_single_precision(task: str) -> None:
    plain, bucketed = (
        trainer_of(task, None, torch.float32, runner, learning_rate=0.01, gamma=0.9)
        for runner in (None, EagerRunner())
    )
    # 24 bits, and the same amplification.
    assert_same(plain, bucketed, epochs=3, tolerance=2e-4)


@pytest.mark.slow
def test_a_replica_in_buckets_is_the_solo_run() -> None:
    together = trainer_of(runner=EagerRunner())
    last = [together.run_epoch() for _ in range(2)][-1]
    for replica in range(3):
        solo = trainer_of(runner=EagerRunner(), replicas=1, seed=SETTINGS.seed + replica)
        own = [solo.run_epoch() for _ in range(2)][-1]
        for name, values in own.metrics.items():
            assert last.metrics[name][replica] == pytest.approx(values[0], rel=1e-8), name


@pytest.mark.slow
def test_a_diverging_replica_disturbs_no_other_in_buckets() -> None:
    healthy, hurt = (trainer_of(runner=EagerRunner()) for _ in range(2))
    with torch.no_grad():
        for name in hurt.network.recurrent_weights:
            hurt.weights[name][1] = math.nan
    for _ in range(2):
        expected, got = healthy.run_epoch(), hurt.run_epoch()
        assert got.diverged == (False, True, False)
    for name, weight in healthy.weights.items():
        assert torch.equal(hurt.weights[name][[0, 2]], weight[[0, 2]]), name
    assert got.metrics["val_nll_nats"][0] == expected.metrics["val_nll_nats"][0]


class Recording:
    """Calls the step as often as a graph is warmed up, and counts what it prepared."""

    def __init__(self) -> None:
        self.recorded = 0

    def record(self, step: Callable[[], object]) -> Callable[[], object]:
        for _ in range(5):
            step()
        self.recorded += 1
        return step


@pytest.mark.slow
@pytest.mark.parametrize("task", BUCKETED)
def test_recording_changes_nothing_and_happens_once_per_bucket(task: str) -> None:
    runner = Recording()
    warmed, plain = trainer_of(task, runner=runner), trainer_of(task)
    assert_same(plain, warmed, epochs=3, tolerance=1e-8)
    buckets = {batch.bucket for batch in warmed.task.bucket_examples(3, SETTINGS.batch_size)}
    assert runner.recorded == len(buckets)


class Failing:
    """Fails as a capture does: in the middle, with the step having been called."""

    def record(self, step: Callable[[], object]) -> Callable[[], object]:
        step()
        raise RuntimeError("CUDA error: operation not permitted\nwhen stream is capturing")


@pytest.mark.slow
def test_a_step_that_cannot_be_recorded_trains_all_the_same() -> None:
    failed, eager = trainer_of(runner=Failing()), trainer_of(runner=EagerRunner())
    with pytest.warns(RuntimeWarning, match="no CUDA graphs, several times slower: CUDA error: op"):
        failed.run_epoch()
    eager.run_epoch()
    failed.run_epoch(), eager.run_epoch()
    for name, weight in eager.weights.items():
        assert torch.equal(failed.weights[name], weight), name
    assert "not permitted when stream is capturing" in failed.problem
    assert eager.problem is None


def test_a_step_that_fails_in_itself_is_an_error() -> None:
    trainer = trainer_of(runner=EagerRunner())
    trainer.weights["readout_1.bias"] = torch.zeros(3, 1, 7)
    with pytest.raises(RuntimeError):
        trainer.run_epoch()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"),
    [(EagerRunner, EagerRunner), (EagerRunner, None), (None, EagerRunner)],
    ids=["buckets", "to packed", "from packed"],
)
def test_a_snapshot_goes_on_in_either_kind(before: Any, after: Any) -> None:
    whole, first = (trainer_of(runner=before and before()) for _ in range(2))
    resumed = trainer_of(runner=after and after(), seed=99)
    first.run_epoch(), whole.run_epoch()
    resumed.load_state_dict(first.state_dict())
    # The learning rate has been decayed by then.
    assert_same(whole, resumed, epochs=2, tolerance=0.0 if before is after else 1e-8)


@pytest.mark.slow
def test_a_snapshot_loaded_amid_training_voids_what_was_recorded() -> None:
    trainer, other = (trainer_of(runner=EagerRunner()) for _ in range(2))
    start = trainer.state_dict()
    trainer.run_epoch()
    trainer.load_state_dict(start)
    assert_same(other, trainer, epochs=2, tolerance=0.0)


class Operations(TorchDispatchMode):
    """Writes down each operation with the shapes and numbers that it is given."""

    # Those that look at values, whose number decides a shape, or that make tensors out of Python's
    # numbers on the CPU, which a GPU would then have to fetch.
    UNRECORDABLE = frozenset(
        {"_local_scalar_dense", "nonzero", "index by bool", "lift_fresh", "lift", "scalar_tensor"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kind, _, name = func.name().partition("::")
        name = name.split(".")[0]
        if name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1]):
            name = "index by bool"
        if kind == "aten":  # what the profiler gets is new each time
            shapes = tree_map_only(torch.Tensor, lambda tensor: tuple(tensor.shape), args)
            self.seen.append((name, str(shapes)))
        return func(*args, **(kwargs or {}))

    @property
    def unrecordable(self) -> set[str]:
        return {name for name, _ in self.seen} & self.UNRECORDABLE


@pytest.mark.slow
@every_pair
def test_a_step_is_the_same_recordable_operations_for_all_batches_of_a_bucket(
    model: str, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMU_SEARCH_BACKEND", "reference")  # the operations of a GPU
    trainer = trainer_of(
        task, NetworkSettings(model, (5, 5)), runner=EagerRunner(), gradient_clipping="norm"
    )
    trainer.run_epoch()
    step: TrainingStep = trainer._pass._step
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    seen: dict[object, list[tuple[str, str]]] = {}
    for _ in range(2):
        for batch in trainer.task.bucketed_batches(generators, SETTINGS.batch_size):
            with Operations() as operations:
                step(batch)
            assert operations.unrecordable == set()
            assert operations.seen == seen.setdefault(batch.bucket, operations.seen)
    assert max(map(len, seen.values())) > 100


@pytest.mark.parametrize(
    "bad",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x.where(x > 0, 0.0),
        lambda x: x + torch.tensor(1.0),
    ],
)
def test_what_cannot_be_recorded_is_found(bad: Callable[[torch.Tensor], object]) -> None:
    values = torch.randn(4)
    with Operations() as operations:
        bad(values)
    assert operations.unrecordable


def test_graphs_train_the_tasks_that_have_buckets() -> None:
    gpu = torch.device("cuda")
    for name in TASKS:
        backend = training_backend(task_class(name), gpu, dtype=torch.float32)
        assert backend.name == ("graphs" if issubclass(task_class(name), Bucketed) else "reference")
    assert training_backend(PolyMusic, torch.device("cpu"), dtype=torch.float32).name != "graphs"

    class Unbucketed:
        """A task with batches of any shape."""

    without = training_backend(Unbucketed, gpu, dtype=torch.float32)
    assert (without.name, without.reason) == (
        "reference",
        "Unbucketed has no batches of fixed shapes",
    )
    assert issubclass(Adding, Bucketed)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("task", BUCKETED)
@pytest.mark.parametrize("model", MODELS)
def test_graphs_train_as_the_plain_loop_does_on_a_gpu(
    model: str, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_gpu(runner: Runner | None) -> Trainer:
        settings = dataclasses.replace(SETTINGS, gradient_clipping="norm")
        data = small_task(task, torch.float64, device="cuda")
        return Trainer(data, NetworkSettings(model, (5, 5)), training=settings, runner=runner)

    graphs = on_gpu(GraphRunner(torch.device("cuda")))
    monkeypatch.setenv("DMU_SEARCH_BACKEND", "reference")
    # Sums on a GPU have no fixed order.
    assert_same(on_gpu(None), graphs, epochs=4, tolerance=1e-6)
    assert graphs.problem is None
