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
# Length scales in units of the cube, the deviation of the function and of the noise, as logarithms:
# where they are expected, how surely, and what is never exceeded.
_LENGTH = (math.log(0.7), 0.9, (math.log(0.05), math.log(20.0)))
_SCALE = (0.0, 0.5, (-3.0, 3.0))
_NOISE = (math.log(0.05), 1.2, (math.log(1e-3), 0.0))


@dataclass(frozen=True)
class Hyperparameters:
    """Of the process, as logarithms.

    Attributes:
        values: ``(features + 2,)``: length scales, deviation of the function, of the noise.
    """

    values: tuple[float, ...]

    @classmethod
    def expected(cls, features: int) -> "Hyperparameters":
        """Before any data."""
        return cls((*[_LENGTH[0]] * features, _SCALE[0], _NOISE[0]))


class GaussianProcess:
    """Conditioned on observations, with a Matern 5/2 kernel and a length scale per feature.

    Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006), algorithm 2.1.

    Args:
        hyperparameters: of the kernel and the noise.
        x: ``(n, features)``.
        y: ``(n,)``, of mean 0 and variance 1 or so.
    """

    def __init__(self, hyperparameters: Hyperparameters, *, x: Floats, y: Floats) -> None:
        theta = np.array(hyperparameters.values)
        self._hyperparameters = hyperparameters
        self._lengths, self._variance = np.exp(theta[:-2]), math.exp(2 * theta[-2])
        self._x, self._y = x, y
        noise = math.exp(2 * theta[-1]) + _JITTER
        kernel = self._kernel(x, x) + noise * np.eye(len(y))
        self._factor = cholesky(kernel, lower=True, check_finite=False)
        self._weights = cho_solve((self._factor, True), y, check_finite=False)

    def predict(self, x: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation ``(m,)`` of the function at ``(m, features)``."""
        cross = self._kernel(x, self._x)
        half = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        variance = self._variance - np.einsum("nm,nm->m", half, half)
        return cross @ self._weights, np.sqrt(np.maximum(variance, 1e-12))

    def believing(self, x: Floats) -> "GaussianProcess":
        """The process had it seen its own mean at ``(m, features)``."""
        mean, _ = self.predict(x)
        return GaussianProcess(
            self._hyperparameters, x=np.vstack([self._x, x]), y=np.concatenate([self._y, mean])
        )

    def _kernel(self, a: Floats, b: Floats) -> Floats:
        root = _ROOT5 * np.sqrt(_squared_distances(a / self._lengths, b / self._lengths))
        return self._variance * (1 + root + root * root / 3) * np.exp(-root)


def standardised(values: Floats) -> Floats:
    """Values of mean 0 and variance 1; equal ones are 0."""
    deviation = float(values.std())
    found: Floats = (values - values.mean()) / (deviation if deviation > 0 else 1.0)
    return found


def normal_scores(values: Floats) -> Floats:
    """What a normal variable would be in place of values of these ranks; equal ones share one."""
    found: Floats = ndtri((rankdata(values) - 0.5) / len(values))
    return found


def fitted(x: Floats, y: Floats, *, start: Hyperparameters) -> Hyperparameters:
    """The most probable hyperparameters, by a quasi-Newton method.

    Args:
        x: ``(n, features)``.
        y: ``(n,)``, of mean 0 and variance 1 or so.
        start: where the search begins.
    """
    features = x.shape[1]
    bounds = [_LENGTH[2]] * features + [_SCALE[2], _NOISE[2]]
    found = minimize(
        _negative_log_posterior,
        np.clip(start.values, *np.array(bounds).T),
        args=((x, y),),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 40},
    )
    return Hyperparameters(tuple(float(value) for value in found.x))


def _negative_log_posterior(theta: Floats, data: tuple[Floats, Floats]) -> tuple[float, Floats]:
    """With its gradient; a kernel that cannot be factored is infinitely bad."""
    x, y = data
    features = x.shape[1]
    scaled = x / np.exp(theta[:features])
    variance, noise = math.exp(2 * theta[-2]), math.exp(2 * theta[-1])
    root = _ROOT5 * np.sqrt(_squared_distances(scaled, scaled))
    decay = np.exp(-root)
    signal = variance * (1 + root + root * root / 3) * decay
    try:
        kernel = signal + (noise + _JITTER) * np.eye(len(y))
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
    gradient[-2] = np.einsum("ij,ij->", slope, signal)
    gradient[-1] = np.trace(slope) * noise
    value = 0.5 * y @ weights + np.log(np.diag(factor)).sum()
    expected = np.array([_LENGTH[0]] * features + [_SCALE[0], _NOISE[0]])
    deviation = np.array([_LENGTH[1]] * features + [_SCALE[1], _NOISE[1]])
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
