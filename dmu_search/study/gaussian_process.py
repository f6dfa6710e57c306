"""Regression by a Gaussian process: small, exact, deterministic.

scikit-learn's takes a second for what takes some 20 ms here, because it holds the gradient for
every length scale as a matrix of its own; Optuna's sees no epochs.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import erfcx, ndtr, ndtri
from scipy.stats import rankdata

Floats = NDArray[np.float64]


_ROOT5 = math.sqrt(5.0)
_JITTER = 1e-6
# Length scales in units of the cube; deviations of the function, of a group from it, and of the
# noise. As logarithms: where they are expected, how surely, and what is never exceeded.
_LENGTH = (math.log(0.7), 0.7, (math.log(0.1), math.log(20.0)))
_SCALE = (0.0, 0.5, (-3.0, 3.0))
_GROUP = (math.log(0.2), 1.0, (math.log(1e-2), 0.0))
_NOISE = (math.log(0.05), 1.0, (math.log(1e-2), 0.0))


@dataclass(frozen=True)
class Hyperparameters:
    """Of the process, as logarithms.

    Attributes:
        values: ``(features + 3,)``: length scales, then deviations of the function, of a group from
            it, and of the noise.
    """

    values: tuple[float, ...]

    @classmethod
    def expected(cls, features: int) -> "Hyperparameters":
        """Before any data."""
        return cls((*[_LENGTH[0]] * features, _SCALE[0], _GROUP[0], _NOISE[0]))


@dataclass(frozen=True)
class Points:
    """Where a function is observed or asked for.

    Attributes:
        x: ``(n, features)``.
        group: ``(n,)``, whole numbers: points of one group are off by the same amount, however
            alike their neighbours of other groups are.
    """

    x: Floats
    group: Floats

    def and_(self, more: "Points") -> "Points":
        """These points and more."""
        return Points(np.vstack([self.x, more.x]), np.concatenate([self.group, more.group]))

    def same_group(self, other: "Points") -> Floats:
        """1 where both are of one group: ``(n, m)``."""
        found: Floats = (self.group[:, None] == other.group[None]).astype(np.float64)
        return found


class GaussianProcess:
    """Conditioned on observations, with a Matern 5/2 kernel and a length scale per feature.

    Without groups, the roughness of one setting's curve would have to be explained by short
    length scales, and the process would learn nothing from its neighbours. Rasmussen and Williams,
    "Gaussian Processes for Machine Learning" (2006), algorithm 2.1.

    Args:
        hyperparameters: of the kernel and the noise.
        at: ``n`` points.
        y: ``(n,)``, of mean 0 and variance 1 or so.
    """

    def __init__(self, hyperparameters: Hyperparameters, *, at: Points, y: Floats) -> None:
        theta = np.array(hyperparameters.values)
        self._hyperparameters = hyperparameters
        self._lengths = np.exp(theta[:-3])
        self._variance, self._of_groups, noise = np.exp(2 * theta[-3:])
        self._at, self._y = at, y
        kernel = self._kernel(at, at) + (noise + _JITTER) * np.eye(len(y))
        self._factor = cholesky(kernel, lower=True, check_finite=False)
        self._weights = cho_solve((self._factor, True), y, check_finite=False)

    def predict(self, at: Points) -> tuple[Floats, Floats]:
        """Mean and standard deviation ``(m,)`` of the function at ``m`` points.

        A group that was not observed (a negative number) is not off: that would be luck.
        """
        cross = self._kernel(at, self._at)
        half = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        own = np.where(at.group < 0, 0.0, self._of_groups)
        variance = self._variance + own - np.einsum("nm,nm->m", half, half)
        return cross @ self._weights, np.sqrt(np.maximum(variance, 1e-12))

    def believing(self, at: Points) -> "GaussianProcess":
        """The process had it seen its own mean at ``m`` points."""
        mean, _ = self.predict(at)
        return GaussianProcess(
            self._hyperparameters, at=self._at.and_(at), y=np.concatenate([self._y, mean])
        )

    def _kernel(self, a: Points, b: Points) -> Floats:
        root = _ROOT5 * np.sqrt(_squared_distances(a.x / self._lengths, b.x / self._lengths))
        alike = self._variance * (1 + root + root * root / 3) * np.exp(-root)
        found: Floats = alike + self._of_groups * a.same_group(b)
        return found


def standardised(values: Floats) -> Floats:
    """Values of mean 0 and variance 1; equal ones are 0."""
    deviation = float(values.std())
    found: Floats = (values - values.mean()) / (deviation if deviation > 0 else 1.0)
    return found


def normal_scores(values: Floats) -> Floats:
    """What a normal variable would be in place of values of these ranks; equal ones share one."""
    found: Floats = ndtri((rankdata(values) - 0.5) / len(values))
    return found


def fitted(at: Points, y: Floats, *, start: Hyperparameters) -> Hyperparameters:
    """The most probable hyperparameters, by a quasi-Newton method.

    Args:
        at: ``n`` points.
        y: ``(n,)``, of mean 0 and variance 1 or so.
        start: where the search begins.
    """
    features = at.x.shape[1]
    bounds = [_LENGTH[2]] * features + [_SCALE[2], _GROUP[2], _NOISE[2]]
    found = minimize(
        _negative_log_posterior,
        np.clip(start.values, *np.array(bounds).T),
        args=((at, y),),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 40},
    )
    return Hyperparameters(tuple(float(value) for value in found.x))


def _negative_log_posterior(theta: Floats, data: tuple[Points, Floats]) -> tuple[float, Floats]:
    """With its gradient; a kernel that cannot be factored is infinitely bad."""
    at, y = data
    features = at.x.shape[1]
    scaled = at.x / np.exp(theta[:features])
    variance, of_groups, noise = np.exp(2 * theta[-3:])
    groups = at.same_group(at)
    root = _ROOT5 * np.sqrt(_squared_distances(scaled, scaled))
    decay = np.exp(-root)
    signal = variance * (1 + root + root * root / 3) * decay
    try:
        kernel = signal + of_groups * groups + (noise + _JITTER) * np.eye(len(y))
        factor = cholesky(kernel, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros_like(theta)
    weights = cho_solve((factor, True), y, check_finite=False)
    inverse = cho_solve((factor, True), np.eye(len(y)), check_finite=False)
    slope = inverse - np.outer(weights, weights)
    of_lengths = slope * (variance * (5 / 3) * (1 + root) * decay)
    # sum_ij of_lengths_ij (x_i - x_j)^2 for each feature, without an n x n matrix a feature.
    sums = of_lengths.sum(1)
    gradient = np.empty_like(theta)
    gradient[:features] = sums @ scaled**2 - np.einsum("if,if->f", scaled, of_lengths @ scaled)
    gradient[-3] = np.einsum("ij,ij->", slope, signal)
    gradient[-2] = np.einsum("ij,ij->", slope, groups) * of_groups
    gradient[-1] = np.trace(slope) * noise
    value = 0.5 * y @ weights + np.log(np.diag(factor)).sum()
    priors = [_LENGTH] * features + [_SCALE, _GROUP, _NOISE]
    expected = np.array([prior[0] for prior in priors])
    deviation = np.array([prior[1] for prior in priors])
    away = (theta - expected) / deviation
    return float(value + 0.5 * away @ away), gradient + away / deviation


def _squared_distances(a: Floats, b: Floats) -> Floats:
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T
    found: Floats = np.maximum(squares, 0.0)
    return found


def log_expected_improvement(mean: Floats, deviation: Floats, *, best: float) -> Floats:
    """Logarithm of how far a normal variable is expected to lie below ``best``.

    Stable far above ``best``, where the improvement itself is 0 in floating point (Ament et al.,
    "Unexpected Improvements to Expected Improvement", 2023).

    Args:
        mean: ``(n,)``.
        deviation: ``(n,)``.
        best: the smallest value so far.
    """
    z = (best - mean) / deviation
    density = -0.5 * z * z - 0.5 * math.log(2 * math.pi)
    near = np.maximum(z, -1.0)
    direct = np.log(near * ndtr(near) + np.exp(-0.5 * near * near) / math.sqrt(2 * math.pi))
    far = np.minimum(z, -1.0)
    ratio = 1 + far * math.sqrt(math.pi / 2) * erfcx(-far / math.sqrt(2))
    return np.where(z > -1, direct, density + np.log(np.maximum(ratio, 1e-300))) + np.log(deviation)
