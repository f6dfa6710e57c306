"""The contracts find what they are for: each fault here breaks the test that is named for it."""

import sys
from dataclasses import dataclass, replace
from itertools import count
from types import SimpleNamespace
from unittest import SkipTest

import pytest
import torch

from dmu_search.data.generated import GeneratedData
from dmu_search.engine.networks.cells.base import uniform
from dmu_search.engine.networks.cells.gated import stack
from dmu_search.engine.networks.cells.gru import GRU
from dmu_search.engine.networks.cells.rnn import RNN
from dmu_search.engine.tasks.adding import Adding
from dmu_search.engine.tasks.generated import Rules
from dmu_search.names import MODELS, TASKS
from dmu_search.testing import CellContract, DataContract, TaskContract


@dataclass(frozen=True)
class Plain(RNN):
    """Has no program, and is right."""

    program = None


class MixesReplicas(Plain):
    def step(self, weights, x_projected, state):
        (h,) = super().step(weights, x_projected, state)
        return (h + h.mean(dim=0, keepdim=True),)


class MixesSequences(Plain):
    def step(self, weights, x_projected, state):
        (h,) = super().step(weights, x_projected, state)
        return (h + 0.1 * h.mean(dim=1, keepdim=True),)


class ForgetsAWeight(Plain):
    @property
    def shapes(self):
        return {**super().shapes, "extra": (2, 2)}


class DrawsFromNowhere(Plain):
    def initialise(self, generator, dtype):
        return {
            name: uniform(
                shape, 0.5, generator=torch.Generator().manual_seed(torch.seed()), dtype=dtype
            )
            for name, shape in self.shapes.items()
        }


class DetachesItsPast(Plain):
    def step(self, weights, x_projected, state):
        return super().step(weights, x_projected, (state[0].detach(),))


class RunsAnotherProgram(GRU):
    """The program of a GRU with what is not its step."""

    def step(self, weights, x_projected, state):
        return (2 * super().step(weights, x_projected, state)[0],)


@pytest.fixture
def contract_of(monkeypatch):
    def make(cell):
        module = SimpleNamespace(build=lambda size, settings: stack(cell, size, settings=settings))
        monkeypatch.setitem(MODELS, "own", "own")
        monkeypatch.setitem(sys.modules, "dmu_search.engine.networks.cells.own", module)
        return type("Own", (CellContract,), {"model": "own"})()

    return make


def test_a_cell_without_a_program_keeps_the_contract(contract_of):
    contract = contract_of(Plain)
    with pytest.raises(SkipTest, match="own has no program"):
        contract.test_the_native_loop_is_the_plain_one()
    contract.test_gradcheck()
    contract.test_replica_i_is_the_solo_run_with_seed_plus_i()


@pytest.mark.parametrize(
    ("cell", "test"),
    [
        (MixesReplicas, "test_sequences_of_a_batch_and_replicas_are_independent"),
        (MixesReplicas, "test_replica_i_is_the_solo_run_with_seed_plus_i"),
        (MixesSequences, "test_sequences_of_a_batch_and_replicas_are_independent"),
        (ForgetsAWeight, "test_every_weight_gets_a_finite_gradient"),
        (DrawsFromNowhere, "test_same_seed_same_numbers"),
        (RunsAnotherProgram, "test_the_native_loop_is_the_plain_one"),
    ],
)
def test_a_faulty_cell_breaks_it(contract_of, cell, test):
    with pytest.raises(AssertionError):
        getattr(contract_of(cell), test)()


def test_a_past_without_gradient_breaks_gradcheck(contract_of):
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        contract_of(DetachesItsPast).test_gradcheck()


SMALL = Rules(length=12, batches_per_epoch=2, train_sequences=6, valid_sequences=5)


class Own(TaskContract):
    """Adding with one thing changed."""

    task = "adding"
    changes: dict[str, object]

    def small_data(self):
        return replace(SMALL, test_sequences=7)

    def make_task(self, dtype=torch.float32):
        return type("Changed", (Adding,), self.changes)(self.small_data(), dtype=dtype)


@pytest.mark.parametrize(
    ("changes", "test"),
    [
        ({"direction": "maximize"}, "test_its_row_names_it"),
        (
            {"batches_per_epoch": lambda self, size: size},
            "test_an_epoch_has_as_many_batches_as_it_says",
        ),
        ({"objective": "accuracy"}, "test_the_objective_is_among_the_metrics"),
    ],
)
def test_a_faulty_task_breaks_its_contract(changes, test):
    contract = Own()
    contract.changes = changes
    with pytest.raises(AssertionError):
        getattr(contract, test)()
    contract.changes = {}
    getattr(contract, test)()


class BadHash(GeneratedData):
    sha256 = "abc"


class TwoLines(GeneratedData):
    def describe(self):
        return f"{self.name}:\nadding"


LENGTHS = count(12)


@pytest.mark.parametrize(
    ("load", "test"),
    [
        (lambda task, _: BadHash(task, SMALL), "test_it_says_what_it_is"),
        (lambda task, _: TwoLines(task, SMALL), "test_it_says_what_it_is"),
        (
            lambda task, _: GeneratedData(task, replace(SMALL, length=next(LENGTHS))),
            "test_it_is_the_same_each_time",
        ),
    ],
)
def test_faulty_data_breaks_its_contract(monkeypatch, load, test):
    monkeypatch.setitem(TASKS, "own", replace(TASKS["adding"], data="own"))
    monkeypatch.setitem(sys.modules, "dmu_search.data.own", SimpleNamespace(load=load))
    contract = type("Own", (DataContract,), {"task": "own"})()
    with pytest.raises(AssertionError):
        getattr(contract, test)()
