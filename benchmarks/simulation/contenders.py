"""Who searches: the product's own study, and what stock parts make of the same cluster."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from dmu_search.config.keys import Value
from dmu_search.config.roots import default_of
from dmu_search.errors import ConfigError
from dmu_search.study.proposals import SAMPLERS, Plan, Space
from dmu_search.study.search_study import SearchStudy
from dmu_search.study.stopping import SCHEDULERS, Rungs
from dmu_search.study.trials import Report
from simulation.cluster import Job, Search
from simulation.problems import Problem

optuna.logging.set_verbosity(optuna.logging.ERROR)

# The same for all that stop trials; the product's default for a training of so few epochs.
GRACE_EPOCHS = 1
REDUCTION_FACTOR = 3


@dataclass(frozen=True)
class Setup:
    """What a search starts with.

    Attributes:
        problem: to be searched.
        seed: of everything that it draws.
        trials: more than the budget can begin.
        prior: an expert's guess; only the product's study takes one.
    """

    problem: Problem
    seed: int
    trials: int
    prior: Mapping[str, Value] | None = None


class ProductSearch:
    """The study that `tune` uses.

    Args:
        study: at its start.

    Attributes:
        study: the same.
    """

    def __init__(self, study: SearchStudy) -> None:
        self.study = study

    def next(self) -> Job | None:
        """Its next assignment."""
        assignment = self.study.next()
        return None if assignment is None else Job(assignment.number, assignment.values)

    def report(self, number: int, loss: float, *, epoch: int, finished: bool) -> bool:
        """As a carrier of `tune` reports."""
        report = Report(epoch=epoch, objective=loss, metrics={}, finished=finished)
        return self.study.report(number, report)


def product(setup: Setup, sampler: str, *, scheduler: str) -> ProductSearch:
    """A study of the product, all else as in its configuration.

    Args:
        setup: what it starts with.
        sampler: of `search.sampler`.
        scheduler: of `search.scheduler`.
    """
    rungs = Rungs.of(
        GRACE_EPOCHS,
        setup.problem.max_epochs,
        reduction_factor=_number("search.reduction_factor"),
        direction="minimize",
    )
    plan = Plan(
        setup.problem.space,
        seed=setup.seed,
        startup_trials=_number("search.startup_trials"),
        direction="minimize",
        rungs=rungs.epochs,
        max_epochs=setup.problem.max_epochs,
        priors=() if setup.prior is None else (setup.prior,),
    )
    study = SearchStudy(
        plan, sampler=sampler, stopping=SCHEDULERS[scheduler](rungs), trials=setup.trials
    )
    return ProductSearch(study)


class AskAndTell:
    """Optuna's sampler and pruner by its public interface, as its documentation tells users to.

    Args:
        setup: what it starts with.
        sampler: of Optuna.
        pruner: of Optuna.
    """

    def __init__(self, setup: Setup, sampler: BaseSampler, *, pruner: BasePruner) -> None:
        # Hyperband draws a trial's bracket from the study's name.
        name = f"{setup.problem.name} {setup.seed}"
        self._study = optuna.create_study(sampler=sampler, pruner=pruner, study_name=name)
        self._space = Space(setup.problem.space)
        self._trials: dict[int, optuna.Trial] = {}

    def next(self) -> Job:
        """A trial that Optuna asks for."""
        trial = self._study.ask()
        self._trials[trial.number] = trial
        return Job(trial.number, self._space.suggest(trial))

    def report(self, number: int, loss: float, *, epoch: int, finished: bool) -> bool:
        """Reports, and tells what has ended: complete, pruned, or failed by a nan."""
        trial = self._trials[number]
        if loss != loss:
            self._study.tell(trial, state=TrialState.FAIL)
            return False
        trial.report(loss, epoch)
        if finished:
            self._study.tell(trial, loss)
        elif trial.should_prune():
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            return True
        return False


class RandomWithAsha:
    """Random settings, stopped by Ray's ASHA."""

    def __init__(self, setup: Setup) -> None:
        self._asking = AskAndTell(setup, RandomSampler(seed=setup.seed), pruner=NopPruner())
        self._asha = RayAsha(setup.problem.max_epochs)

    def next(self) -> Job:
        """The next random setting."""
        job = self._asking.next()
        self._asha.add(job.number)
        return job

    def report(self, number: int, loss: float, *, epoch: int, finished: bool) -> bool:
        """Whether ASHA lets it live."""
        if loss != loss:
            self._asha.remove(number)
            return False
        return self._asha.report(number, loss, epoch=epoch)


class RayOptuna:
    """Ray's `OptunaSearch` and its ASHA, told in the order in which Ray's controller tells them.

    A stopped trial is told as complete with its last value, as one that used its whole budget.
    A diverged one counts as an error, as if the training had raised.
    """

    def __init__(self, setup: Setup) -> None:
        space = Space(setup.problem.space)
        self._searcher = OptunaSearch(
            space=lambda trial: space.suggest(trial), metric="loss", mode="min", seed=setup.seed
        )
        self._asha = RayAsha(setup.problem.max_epochs)
        self._asked = 0

    def next(self) -> Job:
        """What `OptunaSearch` suggests."""
        number = self._asked
        self._asked += 1
        values = self._searcher.suggest(str(number))
        assert values is not None, "only a limiter suggests nothing"
        self._asha.add(number)
        return Job(number, values)

    def report(self, number: int, loss: float, *, epoch: int, finished: bool) -> bool:
        """Scheduler first, then searcher."""
        if loss != loss:
            self._asha.remove(number)
            self._searcher.on_trial_complete(str(number), error=True)
            return False
        result = {"loss": loss, "training_iteration": epoch}
        if self._asha.report(number, loss, epoch=epoch):
            self._searcher.on_trial_result(str(number), result)
            return True
        self._searcher.on_trial_complete(str(number), result=result)
        return False


@dataclass(frozen=True)
class _RayTrial:
    """All that Ray's ASHA reads of a trial."""

    trial_id: str


class RayAsha:
    """Ray's `AsyncHyperBandScheduler` without a cluster: it asks nothing of its controller.

    Args:
        max_epochs: of a whole training.
    """

    def __init__(self, max_epochs: int) -> None:
        self._scheduler = AsyncHyperBandScheduler(
            metric="loss",
            mode="min",
            max_t=max_epochs,
            grace_period=GRACE_EPOCHS,
            reduction_factor=REDUCTION_FACTOR,
        )
        self._controller: Any = None

    def add(self, number: int) -> None:
        """A trial begins."""
        self._scheduler.on_trial_add(self._controller, self._trial(number))

    def report(self, number: int, loss: float, *, epoch: int) -> bool:
        """Whether the trial lives on after a result; false at the last epoch."""
        trial, result = self._trial(number), {"loss": loss, "training_iteration": epoch}
        decision = self._scheduler.on_trial_result(self._controller, trial, result)
        if decision == TrialScheduler.CONTINUE:
            return True
        self._scheduler.on_trial_complete(self._controller, trial, result)
        return False

    def remove(self, number: int) -> None:
        """A trial ended by a fault."""
        self._scheduler.on_trial_remove(self._controller, self._trial(number))

    def _trial(self, number: int) -> Any:
        return _RayTrial(str(number))


def _optuna_sh(setup: Setup) -> Search:
    pruner = SuccessiveHalvingPruner(
        min_resource=GRACE_EPOCHS, reduction_factor=REDUCTION_FACTOR, min_early_stopping_rate=0
    )
    return AskAndTell(setup, TPESampler(seed=setup.seed), pruner=pruner)


def _optuna_hyperband(setup: Setup) -> Search:
    pruner = HyperbandPruner(
        min_resource=GRACE_EPOCHS,
        max_resource=setup.problem.max_epochs,
        reduction_factor=REDUCTION_FACTOR,
    )
    return AskAndTell(setup, TPESampler(seed=setup.seed), pruner=pruner)


def _random(setup: Setup) -> Search:
    return AskAndTell(setup, RandomSampler(seed=setup.seed), pruner=NopPruner())


STOCK: Mapping[str, Callable[[Setup], Search]] = {
    "random": _random,
    "random-asha": RandomWithAsha,
    "ray-optuna-asha": RayOptuna,
    "optuna-tpe-sh": _optuna_sh,
    "optuna-tpe-hyperband": _optuna_hyperband,
}
OURS = "ours"


def search_of(contender: str, setup: Setup) -> Search:
    """The search that a contender's name stands for.

    Args:
        contender: see ``check``.
        setup: what it starts with.
    """
    if contender in STOCK:
        return STOCK[contender](setup)
    sampler, scheduler = _pair(contender)
    return product(setup, sampler, scheduler=scheduler)


def check(contender: str) -> None:
    """That a name stands for a contender.

    ``ours`` is the product with its defaults; ``SAMPLER-SCHEDULER`` the product with these, and
    ``ours:SAMPLER-SCHEDULER`` too, where a stock contender has that name.

    Raises:
        ConfigError: it does not.
    """
    if contender in STOCK:
        return
    sampler, scheduler = _pair(contender)
    if sampler not in SAMPLERS or scheduler not in SCHEDULERS:
        raise ConfigError(
            f"--contenders {contender}: no such contender; there are {OURS}, {', '.join(STOCK)} "
            f"and SAMPLER-SCHEDULER of {', '.join(SAMPLERS)} and {', '.join(SCHEDULERS)}"
        )


def takes_prior(contender: str) -> bool:
    """Whether a prior reaches it."""
    return contender not in STOCK


def _pair(contender: str) -> tuple[str, str]:
    if contender == OURS:
        return str(default_of("search.sampler")), str(default_of("search.scheduler"))
    sampler, _, scheduler = contender.removeprefix(f"{OURS}:").rpartition("-")
    return sampler, scheduler


def _number(name: str) -> int:
    value = default_of(name)
    assert isinstance(value, int), f"config.yaml gives {name} as a whole number"
    return value
