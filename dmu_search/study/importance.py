"""Which searched keys mattered, by Optuna's two estimates."""

import math
import warnings
from collections.abc import Mapping

import optuna
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)

from dmu_search.config.distributions import Distribution
from dmu_search.names import Direction
from dmu_search.study.proposals import Space
from dmu_search.study.trials import TrialState

# Fewer say nothing.
_FEWEST = 6
# So many trials at most, the newest: a forest over thousands takes minutes.
_MOST = 500


def importances(
    trials: Mapping[int, TrialState],
    *,
    space: Mapping[str, Distribution],
    direction: Direction,
) -> dict[str, dict[str, float]]:
    """Share of each key in what the objective varies by, largest first.

    fANOVA: Hutter et al., "An Efficient Approach for Assessing Hyperparameter Importance" (2014).
    PED-ANOVA: Watanabe et al. (2023), what tells the best tenth from the rest.

    Args:
        trials: of a study; those with a finite objective count, stopped ones with their last.
        space: what was searched.
        direction: whether a small or a large objective is good.

    Returns:
        Estimate -> key -> share; empty where there are too few trials, or all are alike.
    """
    known = [t for t in trials.values() if t.objective is not None and math.isfinite(t.objective)]
    if len(known) < _FEWEST or len({trial.objective for trial in known}) < 2:
        return {}
    terms = Space(space)
    study = optuna.create_study(direction=direction)
    study.add_trials([terms.judged(trial, trial.objective) for trial in known[-_MOST:]])
    evaluators: dict[str, BaseImportanceEvaluator] = {
        "fANOVA": FanovaImportanceEvaluator(seed=0),
        "PED-ANOVA": PedAnovaImportanceEvaluator(),
    }
    # Keys that only some trials have, such as the norm of a clipping, are left out by Optuna.
    found = {}
    for name, evaluator in evaluators.items():
        try:
            with warnings.catch_warnings():
                # That a key which few trials have is judged by few trials.
                warnings.simplefilter("ignore", UserWarning)
                shares = get_param_importances(study, evaluator=evaluator)
        except (ValueError, RuntimeError):
            # Of keys that never varied there is nothing to tell.
            continue
        finite = {key: share for key, share in shares.items() if math.isfinite(share)}
        if finite:
            found[name] = finite
    return found
