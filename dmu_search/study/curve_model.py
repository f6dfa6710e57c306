"""What a study expects of settings: a Gaussian process over settings and epochs.

All values at all rungs are observations of one function of the setting and the logarithm of the
epoch, so a setting seen for a few epochs tells of the end as much as it is worth. Kandasamy et al.,
"Multi-fidelity Bayesian Optimisation with Continuous Approximations" (2017); Swersky et al.,
"Freeze-Thaw Bayesian Optimization" (2014), for weighing paused trials against new ones.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dmu_search.names import Direction, signed_loss
from dmu_search.study.gaussian_process import (
    Floats,
    GaussianProcess,
    Hyperparameters,
    Points,
    fitted,
    log_expected_improvement,
    normal_scores,
    standardised,
)
from dmu_search.study.trials import Fit, TrialState
from dmu_search.study.unit_cube import UnitCube

Trials = Mapping[int, TrialState]

# Hyperparameters are fitted anew when there are so many times the observations of the last fit,
# to so many of them at most.
_REFIT_GROWTH = 1.25
_FIT_AT_MOST = 180
# A model over more than this takes longer than 100 ms a proposal; the best are kept.
_OBSERVE_AT_MOST = 800
_DRAWN, _PER_BEST = 400, 12
_NEAR, _REFINE = (0.2, 0.05, 0.015), (0.1, 0.03, 0.01)


@dataclass(frozen=True)
class Observations:
    """What is known of the function.

    Attributes:
        at: settings and epochs, ``(n, features + 1)``; a trial is a group.
        loss: ``(n,)``; infinite where training diverged.
    """

    at: Points
    loss: Floats

    @cached_property
    def y(self) -> Floats:
        """Losses as a process can model them: of mean 0 and variance 1, ``(n,)``.

        The sum of two views: the losses themselves up to twice the median's distance from the
        best, so that what is good is told apart by how much; and their ranks as normal scores, so
        that what is bad is told apart at all.
        """
        finite = self.loss[np.isfinite(self.loss)]
        best, median = finite.min(), float(np.median(finite))
        capped = np.minimum(self.loss, median + (median - best))
        return standardised(standardised(capped) + normal_scores(self.loss))


class CurveModel:
    """Proposes settings, and says which paused trial is worth more than a new setting.

    Args:
        cube: of the search space.
        rungs: epochs at which trials are compared, ascending.
        max_epochs: of a trial that uses its whole budget.
        direction: whether the objective is to be small or large.
    """

    def __init__(
        self,
        cube: UnitCube,
        *,
        rungs: Sequence[int],
        max_epochs: int,
        direction: Direction,
    ) -> None:
        self._cube = cube
        self._rungs = (*rungs, max_epochs)
        self._direction: Direction = direction
        # By number of the trial, as it was then.
        self._seen: dict[int, tuple[TrialState, Observations]] = {}

    def observations(self, trials: Trials) -> Observations | None:
        """Values at the rungs, and at the last epoch of each trial; None while none is finite."""
        each = [self._of_trial(trial) for trial in trials.values()]
        found = np.concatenate([of.loss for of in each]) if each else np.zeros(0)
        if not np.isfinite(found).any():
            return None
        kept = np.sort(np.argsort(found, kind="stable")[:_OBSERVE_AT_MOST])
        x = np.concatenate([of.at.x for of in each])
        group = np.concatenate([of.at.group for of in each])
        return Observations(Points(x[kept], group[kept]), found[kept])

    def _of_trial(self, trial: TrialState) -> Observations:
        """What one trial shows, kept until more is known of it."""
        last = self._seen.get(trial.number)
        if last is None or last[0] is not trial:
            known = self._known(trial)
            features = self._cube.features(self._cube.point(trial.values)[None])
            times = np.array([self._time(epoch) for epoch in known])
            x = np.column_stack([np.repeat(features, len(known), axis=0), times])
            group = np.full(len(known), float(trial.number))
            last = trial, Observations(Points(x, group), np.array(list(known.values())))
            self._seen[trial.number] = last
        return last[1]

    def _known(self, trial: TrialState) -> dict[int, float]:
        """Losses by epoch: at each rung and at the last epoch."""
        losses = {
            epoch: signed_loss(value, self._direction) if math.isfinite(value) else math.inf
            for epoch, value in trial.objectives.items()
        }
        if trial.status == "diverged":
            # Whatever it showed before: this is how it ends.
            return {max(trial.epoch, 1): math.inf, self._rungs[-1]: math.inf}
        reached = {
            min((epoch for epoch in losses if epoch >= rung), default=0) for rung in self._rungs
        }
        return {epoch: losses[epoch] for epoch in sorted(reached | {trial.epoch}) if epoch}

    def _time(self, epoch: int) -> float:
        """0 at the first rung, 1 at the end, in proportion to the logarithm."""
        first, last = math.log(self._rungs[0]), math.log(self._rungs[-1])
        return 1.0 if first == last else (math.log(epoch) - first) / (last - first)

    def refit(self, trials: Trials, fit: Fit | None) -> Fit | None:
        """Hyperparameters for what is known now, where the last ones are out of date; else None.

        Args:
            trials: all that is known.
            fit: the last one.
        """
        seen = self.observations(trials)
        if seen is None or (fit and len(seen.loss) < _REFIT_GROWTH * fit.observations):
            return None
        features = seen.at.x.shape[1]
        start = Hyperparameters(fit.values) if fit else Hyperparameters.expected(features)
        some = np.arange(len(seen.loss))
        if len(some) > _FIT_AT_MOST:
            rng = np.random.default_rng(len(some))
            some = np.sort(rng.choice(some, _FIT_AT_MOST, replace=False))
        at = Points(seen.at.x[some], seen.at.group[some])
        found = fitted(at, seen.y[some], start=start)
        return Fit(len(seen.loss), found.values)

    def view(self, trials: Trials, fit: Fit, *, rng: np.random.Generator) -> "View":
        """What the model makes of the trials as they are.

        Args:
            trials: all that is known.
            fit: the last one.
            rng: of the candidates.
        """
        seen = self.observations(trials)
        assert seen is not None, "there is a fit"
        process = GaussianProcess(Hyperparameters(fit.values), at=seen.at, y=seen.y)
        view = View(self._cube, process, best=float(seen.y.min()), rng=rng)
        pending = [trial for trial in trials.values() if trial.status == "open"]
        return view.believing(pending) if pending else view


class View:
    """The model's view of the end of training.

    Args:
        cube: of the search space.
        process: conditioned on all that is known.
        best: the smallest value so far, as the process sees values.
        rng: of the candidates.
    """

    def __init__(
        self,
        cube: UnitCube,
        process: GaussianProcess,
        *,
        best: float,
        rng: np.random.Generator,
    ) -> None:
        self._cube = cube
        self._process = process
        self._best = best
        self._rng = rng

    def believing(self, trials: Sequence[TrialState]) -> "View":
        """The view had trials that are carried ended as expected, so that others differ."""
        process = self._process.believing(self._end_of(trials))
        return View(self._cube, process, best=self._best, rng=self._rng)

    def expected(self, trials: Sequence[TrialState]) -> Floats:
        """The values ``(n,)`` that trials are expected to end with; small is good."""
        return self._process.predict(self._end_of(trials))[0]

    def gains(self, trials: Sequence[TrialState]) -> Floats:
        """Logarithms ``(n,)`` of the improvement expected of trials at the end of training."""
        return self._gains_at(self._end_of(trials))

    def new(
        self, good: Floats, *, leaning: Callable[[Floats], Floats] | None = None
    ) -> tuple[Floats, float]:
        """The point with the largest expected improvement, and the improvement's logarithm.

        Args:
            good: points ``(n, keys)`` around which to look too.
            leaning: what to add to the logarithm at points ``(m, keys)`` where one is chosen.
        """

        def worth(points: Floats) -> Floats:
            gains = self._gains_at(self._end_at(points))
            return gains if leaning is None else gains + leaning(points)

        points = self._cube.snapped(self._candidates(good))
        worths = worth(points)
        for spread in _REFINE:
            top = np.argsort(-worths, kind="stable")[:5]
            near = self._cube.snapped(self._around(points[top], spread, copies=20))
            points = np.vstack([points[top], near])
            worths = np.concatenate([worths[top], worth(near)])
        winner = points[[int(np.argmax(worths))]]
        return winner[0], float(self._gains_at(self._end_at(winner))[0])

    def _candidates(self, good: Floats) -> Floats:
        drawn = self._rng.random((_DRAWN, len(self._cube.keys)))
        near = [self._around(good, spread, copies=_PER_BEST) for spread in _NEAR]
        return np.vstack([drawn, *near])

    def _around(self, points: Floats, spread: float, *, copies: int) -> Floats:
        """Copies that differ from points in about half of the coordinates."""
        many = np.repeat(points, copies, axis=0)
        moved = self._rng.random(many.shape) < 0.5
        return np.clip(many + moved * self._rng.normal(0, spread, many.shape), 0.0, 1.0)

    def _gains_at(self, points: Points) -> Floats:
        mean, deviation = self._process.predict(points)
        return log_expected_improvement(mean, deviation, best=self._best)

    def _end_of(self, trials: Sequence[TrialState]) -> Points:
        """The end of trials that have begun."""
        points = np.array([self._cube.point(trial.values) for trial in trials])
        own = np.array([float(trial.number) for trial in trials])
        return Points(self._end_at(points).x, own)

    def _end_at(self, points: Floats) -> Points:
        """The end of new settings ``(n, keys)``; each is a group of its own, not seen before."""
        features = np.column_stack([self._cube.features(points), np.ones(len(points))])
        return Points(features, np.arange(-1.0, -1.0 - len(points), -1.0))
