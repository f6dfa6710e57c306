"""An expert's good guesses as a density over settings, believed as long as results agree.

In the manner of piBO (Hvarfner et al., 2022), which weighs such a density against what is expected
of a setting, less with every trial; and of PriorBand (Mallik et al., 2023), which compares how well
the density and chance explain the best trials.
"""

import numpy as np

from dmu_search.study.gaussian_process import Floats

# Deviation of a guess in the units of the cube; the rest of the density is even over the cube.
_DEVIATION = 0.15
_EVEN = 0.05
# The density counts like this many trials.
_WORTH = 10.0
# The best of so many tell whether the guesses are good.
_JUDGED_BY = 3


class Expert:
    """Guesses of settings, in the unit cube.

    Args:
        guesses: ``(guesses, keys)``; nan where a guess says nothing of a key. Without any, nothing
            is believed.
    """

    def __init__(self, guesses: Floats) -> None:
        self.guesses = guesses

    def log_density(self, points: Floats) -> Floats:
        """Of points ``(n, keys)``: ``(n,)``; averaged over the keys, so many are no more sure."""
        away = (points[:, None, :] - self.guesses[None]) / _DEVIATION
        peak = -0.5 * np.nanmean(np.square(away), axis=-1)
        near = np.exp(peak).max(-1)
        found: Floats = np.log(_EVEN + (1 - _EVEN) * near)
        return found

    def belief(self, best_first: Floats) -> float:
        """Between 0 and 1: the share of the best trials that the guesses explain.

        Args:
            best_first: trials ``(n, keys)``; before any, a guess is as good as chance.
        """
        if not len(self.guesses):
            return 0.0
        if not len(best_first):
            return 0.5
        judged = best_first[: max(1, len(best_first) // _JUDGED_BY)]
        weights = np.arange(len(judged), 0, -1)
        near = float(weights @ np.exp(self.log_density(judged)) / weights.sum())
        # What points that are drawn evenly have of the density.
        return near / (near + self._by_chance)

    @property
    def _by_chance(self) -> float:
        keys = self.guesses.shape[1]
        drawn = np.random.default_rng(0).random((512, keys))
        return float(np.exp(self.log_density(drawn)).mean())

    def weight(self, trials: int, *, belief: float) -> float:
        """What the logarithm of the density counts with after so many trials."""
        return 2 * belief * _WORTH / (trials + 1)

    def near_guess(self, number: int, *, rng: np.random.Generator) -> Floats:
        """A point ``(keys,)`` near the guesses, in turn; at first the guesses themselves."""
        said = self.guesses[number % len(self.guesses)]
        guess = np.where(np.isnan(said), rng.random(said.shape), said)
        if number < len(self.guesses):
            found: Floats = guess
            return found
        moved = rng.random(guess.shape) < 0.5
        near: Floats = np.clip(guess + moved * rng.normal(0, _DEVIATION, guess.shape), 0.0, 1.0)
        return near
