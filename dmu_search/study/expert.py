"""An expert's good guesses as a density over settings, believed as long as results agree.

In the manner of piBO (Hvarfner et al., 2022), which weighs such a density against what is expected
of a setting, less with every trial; and of PriorBand (Mallik et al., 2023), which follows guesses
as far as results agree.
"""

import math

import numpy as np
from numpy.typing import NDArray

from dmu_search.study.gaussian_process import Floats

# Deviation of a guess in the units of the cube; the rest of the density is even over the cube.
_DEVIATION = 0.15
_EVEN = 0.05
# The density counts like this many trials.
_WORTH = 10.0
# Comparisons that stand for having no evidence yet.
_BEFORE = 4


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

    def is_near(self, points: Floats) -> NDArray[np.bool_]:
        """Which of ``(n, keys)`` are nearer to a guess than halfway down its density: ``(n,)``."""
        if not len(self.guesses):
            return np.zeros(len(points), dtype=bool)
        return self.log_density(points) > math.log(_EVEN + (1 - _EVEN) / 2)

    def belief(self, wins: int, comparisons: int) -> float:
        """Between 0 and 1: how far the guesses are to be followed.

        Args:
            wins: how often a trial near a guess was better than one that is not.
            comparisons: of all; before any, nothing speaks for the guesses.
        """
        if not len(self.guesses):
            return 0.0
        # As if it had won half of some comparisons before.
        share = (wins + _BEFORE / 2) / (comparisons + _BEFORE)
        return max(0.0, (share - 0.5) * 2)

    def weight(self, trials: int, *, belief: float) -> float:
        """What the logarithm of the density counts with after so many trials."""
        return (2 * belief) ** 2 * _WORTH / (trials + 1)

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
