"""An in-memory Optuna study that is asked for settings and told their results."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cloudpickle
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from dmu_search.config.distributions import Choice, Distribution
from dmu_search.config.keys import KEYS, Value
from dmu_search.names import Direction, signed_loss

optuna.logging.set_verbosity(optuna.logging.WARNING)
# `multivariate` and `group` are experimental by name for years; the pinned versions are tested.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def _tpe(seed: int, startup_trials: int) -> BaseSampler:
    # Constant liar: running trials count as bad, so that parallel proposals spread. Group: a
    # conditional hyperparameter is modelled from the trials that have it.
    return TPESampler(
        seed=seed,
        n_startup_trials=startup_trials,
        multivariate=True,
        group=True,
        constant_liar=True,
    )


def _random(seed: int, startup_trials: int) -> BaseSampler:
    return RandomSampler(seed=seed)


SAMPLERS = {"tpe": _tpe, "random": _random}


@dataclass(frozen=True)
class WarmStart:
    """A point of the space that is tried first and never stopped early.

    Attributes:
        source: where its values are from: ``paper``, ``released``.
        values: the searched keys that it sets.
    """

    source: str
    values: Mapping[str, Value]


@dataclass(frozen=True)
class Proposal:
    """A trial's settings.

    Attributes:
        number: of the trial in the study, from 0.
        values: every searched key that applies.
        warm_start: the source of a warm start, else None.
    """

    number: int
    values: Mapping[str, Value]
    warm_start: str | None


class SearchStudy:
    """Asks Optuna for settings and tells it results, by trial id.

    Args:
        space: what is searched, in the order in which it is sampled.
        sampler: a key of ``SAMPLERS``.
        seed: of the sampler.
        startup_trials: random trials before the sampler learns from results.
        direction: whether the objective is to be small or large.
        warm_starts: the first proposals.
    """

    def __init__(
        self,
        space: Mapping[str, Distribution],
        *,
        sampler: str,
        seed: int,
        startup_trials: int,
        direction: Direction = "minimize",
        warm_starts: Sequence[WarmStart] = (),
    ) -> None:
        self._space = {name: _optuna_distribution(space[name]) for name in _in_order(space)}
        self._study = optuna.create_study(
            direction=direction, sampler=SAMPLERS[sampler](seed, startup_trials)
        )
        self.direction: Direction = direction
        self._trials: dict[str, optuna.Trial] = {}
        for point in warm_starts:
            values = {name: _to_optuna(value) for name, value in point.values.items()}
            self._study.enqueue_trial(values, user_attrs={"warm_start": point.source})

    def ask(self, trial_id: str) -> Proposal:
        """Settings for the new trial ``trial_id``."""
        trial = self._study.ask()
        trial.set_user_attr("trial_id", trial_id)
        self._trials[trial_id] = trial
        values: dict[str, Value] = {}
        for name, distribution in self._space.items():
            condition = KEYS[name].only_if
            if condition is None or values.get(condition[0], condition[1]) == condition[1]:
                values[name] = _suggest(trial, name, distribution)
        return Proposal(trial.number, values, trial.user_attrs.get("warm_start"))

    def report(self, trial_id: str, epoch: int, value: float) -> None:
        """Keep the objective of a running trial after ``epoch``; a repeated epoch is left out."""
        trial = self._trials[trial_id]
        if value == value and epoch not in self._frozen(trial).intermediate_values:
            trial.report(value, epoch)

    def finish(self, trial_id: str, value: float) -> None:
        """The trial used its whole budget; NaN makes it a failure."""
        if value != value:
            self.fail(trial_id)
        else:
            self._study.tell(self._trials.pop(trial_id), value)

    def prune(self, trial_id: str) -> None:
        """The trial was stopped early; its value is the last one reported."""
        trial = self._trials.pop(trial_id)
        seen = bool(self._frozen(trial).intermediate_values)
        self._study.tell(trial, state=TrialState.PRUNED if seen else TrialState.FAIL)

    def fail(self, trial_id: str) -> None:
        """The trial ended without a usable value."""
        self._study.tell(self._trials.pop(trial_id), state=TrialState.FAIL)

    def annotate(self, trial_id: str, attributes: Mapping[str, Any]) -> None:
        """Keep ``attributes`` (JSON values) with a running trial."""
        for name, value in attributes.items():
            self._trials[trial_id].set_user_attr(name, value)

    @property
    def best(self) -> FrozenTrial | None:
        """The trial with the best objective among those that used their whole budget."""
        complete = [trial for trial in self.trials if trial.state == TrialState.COMPLETE]
        return min(
            complete, key=lambda trial: signed_loss(_value(trial), self.direction), default=None
        )

    @property
    def running(self) -> int:
        """Number of trials asked for and not yet told."""
        return len(self._trials)

    def is_running(self, trial_id: str) -> bool:
        """Whether ``trial_id`` was asked for and not yet told."""
        return trial_id in self._trials

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials asked for so far, as Optuna keeps them."""
        waiting = TrialState.WAITING
        return [t for t in self._study.get_trials(deepcopy=False) if t.state != waiting]

    @property
    def trial_ids(self) -> set[str]:
        """Ids of all trials asked for so far."""
        return {trial.user_attrs["trial_id"] for trial in self.trials}

    def intermediate_values(self) -> dict[str, dict[int, float]]:
        """Trial id -> epoch -> objective, of every trial asked for."""
        return {t.user_attrs["trial_id"]: dict(t.intermediate_values) for t in self.trials}

    def dump(self) -> bytes:
        """The whole state, random state included."""
        return bytes(cloudpickle.dumps(self))

    @staticmethod
    def load(state: bytes) -> "SearchStudy":
        """The inverse of ``dump``."""
        study = cloudpickle.loads(state)
        assert isinstance(study, SearchStudy)
        return study

    def _frozen(self, trial: optuna.Trial) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[trial.number]


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None, "a complete trial has a value"
    return trial.value


def _in_order(space: Mapping[str, Distribution]) -> list[str]:
    """Names sorted, conditional ones last: what they depend on is then known."""
    return sorted(space, key=lambda name: (KEYS[name].only_if is not None, name))


def _optuna_distribution(distribution: Distribution) -> BaseDistribution:
    if isinstance(distribution, Choice):
        return CategoricalDistribution([_to_optuna(value) for value in distribution.values])
    low, high, log, step = (
        distribution.low,
        distribution.high,
        distribution.log,
        distribution.step,
    )
    if distribution.integer:
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return FloatDistribution(low, high, log=log, step=step)


def _to_optuna(value: Value) -> bool | int | float | str | None:
    assert not isinstance(value, tuple), "widths are not searched"
    return value


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Value:
    if isinstance(distribution, CategoricalDistribution):
        choice: Value = trial.suggest_categorical(name, distribution.choices)
        return choice
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(
        name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
    )
