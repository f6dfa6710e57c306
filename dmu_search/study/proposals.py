"""Settings to try next, by Optuna's samplers; the only place where they are drawn."""

import warnings
from collections.abc import Mapping

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from dmu_search.config.distributions import Choice, Distribution
from dmu_search.config.keys import KEYS, Value
from dmu_search.names import Direction
from dmu_search.study.trials import Status, TrialState

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

# Optuna's words: a trial that was stopped early is PRUNED with its last value.
_STATES: dict[Status, OptunaState] = {
    "open": OptunaState.RUNNING,
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
        # Conditional keys last: what they depend on is then known.
        names = sorted(distributions, key=lambda name: (_condition(name) is not None, name))
        self._distributions = {name: _optuna_distribution(distributions[name]) for name in names}

    def suggest(self, trial: optuna.Trial) -> dict[str, Value]:
        """Draw the keys that apply, those that others depend on first."""
        values: dict[str, Value] = {}
        for name, distribution in self._distributions.items():
            condition = _condition(name)
            if condition is None or values.get(condition[0], condition[1]) == condition[1]:
                values[name] = _suggest(trial, name, distribution=distribution)
        return values

    def frozen(self, trial: TrialState) -> FrozenTrial:
        """A trial as Optuna keeps it, less its number."""
        state = _STATES[trial.status]
        finite = {epoch: v for epoch, v in trial.objectives.items() if v == v}
        if state == OptunaState.PRUNED and not finite:
            state = OptunaState.FAIL
        known = {name: value for name, value in trial.values.items() if name in self._distributions}
        return create_trial(
            state=state,
            value=trial.objective if state == OptunaState.COMPLETE else None,
            params={name: _to_optuna(value) for name, value in known.items()},
            distributions={name: self._distributions[name] for name in known},
            intermediate_values=finite if trial.status != "open" else {},
            user_attrs={"trial": trial.number}
            | ({"source": trial.source} if trial.source else {})
            | ({"error": trial.error} if trial.error else {}),
        )


class Proposals:
    """Draws settings from what a study knows.

    Each draw has a generator of its own, seeded by the study's seed and the trial's number, so that
    a study resumed from its journal proposes what it would have proposed without the interruption.

    Args:
        space: what is searched.
        sampler: a key of ``SAMPLERS``.
        seed: of the study.
        startup_trials: random trials before the sampler learns from results.
        direction: whether the objective is to be small or large.
    """

    def __init__(
        self,
        space: Mapping[str, Distribution],
        *,
        sampler: str,
        seed: int,
        startup_trials: int,
        direction: Direction,
    ) -> None:
        self._space = Space(space)
        self._sampler = sampler
        self._seed = seed
        self._startup_trials = startup_trials
        self._study = optuna.create_study(direction=direction, sampler=RandomSampler(seed=seed))
        self._running: dict[int, optuna.Trial] = {}
        self._told: set[int] = set()

    def propose(
        self, number: int, trials: Mapping[int, TrialState], *, given: Mapping[str, Value]
    ) -> dict[str, Value]:
        """The setting of trial ``number``.

        Args:
            number: of the new trial.
            trials: all that the study knows, by number.
            given: values that are settled, of a warm start; the others are drawn.
        """
        self._tell(trials)
        own_seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        self._study.sampler = SAMPLERS[self._sampler](own_seed, self._startup_trials)
        if given:
            self._study.enqueue_trial({name: _to_optuna(value) for name, value in given.items()})
        trial = self._study.ask()
        self._running[number] = trial
        return self._space.suggest(trial)

    def _tell(self, trials: Mapping[int, TrialState]) -> None:
        """Bring Optuna's study up to date, in the order of the trials' numbers."""
        for number, trial in trials.items():
            if number in self._told:
                continue
            if number not in self._running:
                self._add(trial)
            if trial.status != "open":
                self._told.add(number)
                own = self._running.pop(number, None)
                if own is not None:
                    frozen = self._space.frozen(trial)
                    for epoch, value in frozen.intermediate_values.items():
                        own.report(value, epoch)
                    self._study.tell(own, frozen.value, state=frozen.state)

    def _add(self, trial: TrialState) -> None:
        """Take in a trial of an earlier process."""
        self._study.add_trial(self._space.frozen(trial))
        if trial.status == "open":
            newest = self._study.get_trials(deepcopy=False)[-1]
            self._running[trial.number] = optuna.Trial(self._study, newest._trial_id)


def _condition(name: str) -> tuple[str, str] | None:
    """When a name applies: as its key says; always where it is none, as in a benchmark's space."""
    return KEYS[name].only_if if name in KEYS else None


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
