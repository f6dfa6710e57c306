"""Settings to try next, and the paused trials to carry on with; the only place that proposes."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from dmu_search.config.distributions import Choice, Distribution
from dmu_search.config.keys import Value
from dmu_search.names import Direction, signed_loss
from dmu_search.study.curve_model import CurveModel, Trials, View
from dmu_search.study.expert import Expert
from dmu_search.study.gaussian_process import Floats
from dmu_search.study.stopping import value_at
from dmu_search.study.trials import Fit, Status, TrialState
from dmu_search.study.unit_cube import UnitCube, condition_of, in_order

optuna.logging.set_verbosity(optuna.logging.WARNING)
# `multivariate` and `group` are experimental by name for years; the pinned versions are tested.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

# One proposal in so many ignores what is known, so that no model can lock a study in.
_IGNORANT = 10
# A model of densities needs so many values that compare.
_COMPARABLE = 8
# A model looks around so many of the best settings too.
_NEAR_BEST = 8
# So many trials near the guesses of an expert are compared with so many others.
_COMPARED = 16
# A paused trial is worth carrying on with if its expected improvement, as a logarithm, is not
# further below that of a new setting: the new one is more likely to be overrated, being the best of
# hundreds of candidates.
_HANDICAP = 0.5


# Optuna's words: a trial that was stopped early is PRUNED with its last value.
_STATES: dict[Status, OptunaState] = {
    "open": OptunaState.RUNNING,
    "paused": OptunaState.RUNNING,
    "finished": OptunaState.COMPLETE,
    "stopped early": OptunaState.PRUNED,
    "diverged": OptunaState.FAIL,
    "failed": OptunaState.FAIL,
}


class Space:
    """A search space in Optuna's terms.

    Args:
        distributions: of the searched keys, or of a benchmark's own hyperparameters.
    """

    def __init__(self, distributions: Mapping[str, Distribution]) -> None:
        self._distributions = {
            name: _optuna_distribution(distributions[name]) for name in in_order(distributions)
        }

    def suggest(self, trial: optuna.Trial) -> dict[str, Value]:
        """Draw the keys that apply, those that others depend on first."""
        values: dict[str, Value] = {}
        for name, distribution in self._distributions.items():
            condition = condition_of(name)
            if condition is None or values.get(condition[0], condition[1]) == condition[1]:
                values[name] = _suggest(trial, name, distribution=distribution)
        return values

    def frozen(self, trial: TrialState) -> FrozenTrial:
        """A trial as Optuna keeps it, less its number."""
        state = _STATES[trial.status]
        finite = {epoch: v for epoch, v in trial.objectives.items() if v == v}
        if state == OptunaState.PRUNED and not finite:
            state = OptunaState.FAIL
        return create_trial(
            state=state,
            value=trial.objective if state == OptunaState.COMPLETE else None,
            **self._parameters(trial),
            intermediate_values=finite if trial.over else {},
            user_attrs={"trial": trial.number}
            | ({"source": trial.source} if trial.source else {})
            | ({"error": trial.error} if trial.error else {}),
        )

    def judged(self, trial: TrialState, value: float | None) -> FrozenTrial:
        """A trial with a value that compares with others'; running where it has none."""
        state = OptunaState.RUNNING if value is None else OptunaState.COMPLETE
        return create_trial(state=state, value=value, **self._parameters(trial))

    def _parameters(self, trial: TrialState) -> dict[str, Any]:
        known = {name: value for name, value in trial.values.items() if name in self._distributions}
        return {
            "params": {name: _to_optuna(value) for name, value in known.items()},
            "distributions": {name: self._distributions[name] for name in known},
        }


@dataclass(frozen=True)
class Plan:
    """What samplers have to know of a study.

    Attributes:
        space: what is searched.
        seed: of the study.
        startup_trials: before the sampler learns from results.
        direction: whether the objective is to be small or large.
        rungs: epochs at which trials are compared, ascending.
        max_epochs: of a trial that uses its whole budget.
        priors: settings that an expert would try; only the model knows what to do with them.
    """

    space: Mapping[str, Distribution]
    seed: int
    startup_trials: int
    direction: Direction
    rungs: tuple[int, ...]
    max_epochs: int
    priors: tuple[Mapping[str, Value], ...] = ()

    def rng(self, number: int) -> np.random.Generator:
        """A generator for trial ``number`` alone.

        So a study resumed from its journal proposes what it would have proposed.
        """
        return np.random.default_rng(np.random.SeedSequence([self.seed, number]))

    def seed_of(self, number: int) -> int:
        """The same as a number below 2^32, for Optuna's samplers."""
        return int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])


class Sampler(Protocol):
    """Proposes settings, from the trials as they are.

    One that has no model of its own never fits, and judges paused trials by their values.
    """

    def refit(self, trials: Trials, fit: Fit | None) -> Fit | None:
        """A new fit of the model, to be kept with the study; None where the last one will do."""

    def propose(
        self, number: int, trials: Trials, *, given: Mapping[str, Value], fit: Fit | None
    ) -> dict[str, Value]:
        """The setting of trial ``number``.

        Args:
            number: of the new trial.
            trials: all that the study knows, by number.
            given: values that are settled, of a warm start; the others are drawn.
            fit: the last one.
        """

    def best_of(self, numbers: Sequence[int], trials: Trials, *, fit: Fit | None) -> int:
        """The trial, of paused ones at the same rung, to carry on with."""

    def worth_more(self, numbers: Sequence[int], trials: Trials, *, fit: Fit | None) -> int | None:
        """The paused trial that is worth more than a new setting; None where none is."""


@dataclass
class _Unmodelled:
    """The sampler's view of paused trials where it has no model.

    Attributes:
        plan: of the study.
    """

    plan: Plan
    space: Space = field(init=False)

    def __post_init__(self) -> None:
        self.space = Space(self.plan.space)

    def refit(self, trials: Trials, fit: Fit | None) -> Fit | None:
        """No model."""
        return None

    def best_of(self, numbers: Sequence[int], trials: Trials, *, fit: Fit | None) -> int:
        """The one with the best last value."""
        return min(numbers, key=lambda number: (_last_loss(trials[number], self.plan), number))

    def worth_more(self, numbers: Sequence[int], trials: Trials, *, fit: Fit | None) -> int | None:
        """None: what a new setting is worth is not known."""
        return None

    def _ask(self, study: optuna.Study, given: Mapping[str, Value]) -> dict[str, Value]:
        if given:
            study.enqueue_trial({name: _to_optuna(value) for name, value in given.items()})
        return self.space.suggest(study.ask())


class RandomProposals(_Unmodelled):
    """Every setting is as likely as its neighbours."""

    def propose(
        self, number: int, trials: Trials, *, given: Mapping[str, Value], fit: Fit | None
    ) -> dict[str, Value]:
        """Drawn without regard to what is known."""
        sampler = RandomSampler(seed=self.plan.seed_of(number))
        study = optuna.create_study(direction=self.plan.direction, sampler=sampler)
        return self._ask(study, given)


class TpeProposals(_Unmodelled):
    """Optuna's tree-structured Parzen estimator over values that compare: those of one rung.

    The highest rung that enough trials have reached, as in BOHB (Falkner et al., 2018). Told of
    trials that were stopped early as Optuna's pruners tell them, TPE ranks every finished trial
    above all others and stays around the first of them.
    """

    def propose(
        self, number: int, trials: Trials, *, given: Mapping[str, Value], fit: Fit | None
    ) -> dict[str, Value]:
        """Where settings that were good at the rung are more frequent than others."""
        values = self._comparable(trials)
        ignorant = len(values) < self.plan.startup_trials or number % _IGNORANT == 0
        # Constant liar: running trials count as bad, so that parallel proposals spread. Group: a
        # conditional hyperparameter is modelled from the trials that have it.
        sampler = TPESampler(
            seed=self.plan.seed_of(number),
            n_startup_trials=10**9 if ignorant else 0,
            multivariate=True,
            group=True,
            constant_liar=True,
        )
        study = optuna.create_study(direction=self.plan.direction, sampler=sampler)
        for trial in trials.values():
            if trial.number in values or trial.status == "open":
                study.add_trial(self.space.judged(trial, values.get(trial.number)))
        return self._ask(study, given)

    def _comparable(self, trials: Trials) -> dict[int, float]:
        """Values at the highest rung that enough trials have; diverged ones as the worst."""
        known: dict[int, float] = {}
        for rung in (self.plan.max_epochs, *reversed(self.plan.rungs)):
            at_rung = {trial.number: value_at(trial, rung) for trial in trials.values()}
            known = {number: value for number, value in at_rung.items() if value is not None}
            if len(known) >= max(_COMPARABLE, self.plan.startup_trials):
                break
        finite = [value for value in known.values() if math.isfinite(value)]
        if not finite:
            return {}
        worst = max(finite, key=lambda value: signed_loss(value, self.plan.direction))
        return {n: value if math.isfinite(value) else worst for n, value in known.items()}


class QmcProposals(_Unmodelled):
    """Sobol's sequence, scrambled by the study's seed: settings that fill the space evenly."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._cube = UnitCube(self.plan.space)

    def propose(
        self, number: int, trials: Trials, *, given: Mapping[str, Value], fit: Fit | None
    ) -> dict[str, Value]:
        """The sequence's point of that number."""
        point = self._cube.even_point(number, seed=self.plan.seed)
        return completed(self._cube, point, given=given)


class GpProposals(QmcProposals):
    """A Gaussian process over settings and epochs, after a start by Sobol's sequence."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._model = CurveModel(
            self._cube,
            rungs=self.plan.rungs,
            max_epochs=self.plan.max_epochs,
            direction=self.plan.direction,
        )
        self._expert = Expert(self._cube.guesses(self.plan.priors))
        self._last: _Looked | None = None

    def refit(self, trials: Trials, fit: Fit | None) -> Fit | None:
        """New hyperparameters when there is much more to fit them to."""
        return self._model.refit(trials, fit) if self._knows(trials) else None

    def propose(
        self, number: int, trials: Trials, *, given: Mapping[str, Value], fit: Fit | None
    ) -> dict[str, Value]:
        """Where the largest improvement is expected at the end of training."""
        if fit is not None and number % _IGNORANT and self._cube.keys:
            return completed(self._cube, self._look(trials, fit).point, given=given)
        rng = self.plan.rng(number)
        guessed = number < len(self.plan.priors) or rng.random() < self._belief(trials)
        if given or (fit is None and not guessed):
            return super().propose(number, trials, given=given, fit=fit)
        # Of Sobol's sequence every tenth point alone would fill a part of the space only.
        point = (
            self._expert.near_guess(number, rng=rng)
            if guessed
            else rng.random(len(self._cube.keys))
        )
        return self._cube.values(self._cube.snapped(point[None])[0])

    def best_of(self, numbers: Sequence[int], trials: Trials, *, fit: Fit | None) -> int:
        """The one that is expected to end best."""
        if fit is None:
            return super().best_of(numbers, trials, fit=fit)
        view = self._look(trials, fit).view
        expected = view.expected([trials[number] for number in numbers])
        return numbers[int(np.argmin(expected))]

    def worth_more(self, numbers: Sequence[int], trials: Trials, *, fit: Fit | None) -> int | None:
        """The one with the largest expected improvement, if a new setting has not much more."""
        if fit is None or not numbers:
            return None
        looked = self._look(trials, fit)
        gains = looked.view.gains([trials[number] for number in numbers])
        if gains.max() < looked.gain - _HANDICAP:
            return None
        return numbers[int(np.argmax(gains))]

    def _knows(self, trials: Trials) -> bool:
        return sum(bool(trial.objectives) for trial in trials.values()) >= self.plan.startup_trials

    def _look(self, trials: Trials, fit: Fit) -> "_Looked":
        """The model's view of the trials as they are, kept until one changes."""
        state = tuple((trial.status, trial.epoch) for trial in trials.values())
        if self._last is None or self._last.at != (state, fit):
            view = self._model.view(trials, fit, rng=self.plan.rng(len(trials)))
            best = self._points_of(self._shown(trials)[:_NEAR_BEST])
            weight = self._expert.weight(len(trials), belief=self._belief(trials))
            if weight:
                best = np.vstack([best, self._cube.filled(self._expert.guesses)])
            point, gain = view.new(
                best,
                leaning=(lambda at: weight * self._expert.log_density(at)) if weight else None,
            )
            self._last = _Looked((state, fit), view, point, gain)
        return self._last

    def _belief(self, trials: Trials) -> float:
        """By trials near the guesses and others, at the last epoch that both of a pair have."""
        if not len(self._expert.guesses):
            return 0.0
        shown = self._shown(trials)
        near = self._expert.is_near(self._points_of(shown))
        ours = [t for t, own in zip(shown, near, strict=True) if own][:_COMPARED]
        others = [t for t, own in zip(shown, near, strict=True) if not own][:_COMPARED]
        wins = sum(self._is_better(one, other) for one in ours for other in others)
        return self._expert.belief(wins, len(ours) * len(others))

    def _is_better(self, one: TrialState, other: TrialState) -> bool:
        epoch = min(one.epoch, other.epoch)
        own, its = (value_at(trial, epoch) for trial in (one, other))
        if own is None or its is None or not math.isfinite(own):
            return False
        return not math.isfinite(its) or signed_loss(own, self.plan.direction) < signed_loss(
            its, self.plan.direction
        )

    def _shown(self, trials: Trials) -> list[TrialState]:
        """The trials that have shown something, by their last values."""
        shown = [trial for trial in trials.values() if trial.objective is not None]
        return sorted(shown, key=lambda trial: (_last_loss(trial, self.plan), trial.number))

    def _points_of(self, trials: Sequence[TrialState]) -> Floats:
        points = [self._cube.point(trial.values) for trial in trials]
        return np.array(points).reshape(len(trials), len(self._cube.keys))


@dataclass(frozen=True)
class _Looked:
    """A view of the trials, and the best new setting in it."""

    at: tuple[object, Fit]
    view: View
    point: Floats
    gain: float


def completed(cube: UnitCube, point: Floats, *, given: Mapping[str, Value]) -> dict[str, Value]:
    """The setting at a point ``(keys,)``, with values that are settled in place of its own."""
    values = cube.values(point)
    # Once more, because what is settled decides which other keys apply.
    return {**cube.values(cube.point({**values, **given})), **given} if given else values


def _last_loss(trial: TrialState, plan: Plan) -> float:
    return math.inf if trial.objective is None else signed_loss(trial.objective, plan.direction)


SAMPLERS: dict[str, Callable[[Plan], Sampler]] = {
    "auto": GpProposals,
    "gp": GpProposals,
    "tpe": TpeProposals,
    "qmc": QmcProposals,
    "random": RandomProposals,
}


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


def _suggest(trial: optuna.Trial, name: str, *, distribution: BaseDistribution) -> Value:
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
