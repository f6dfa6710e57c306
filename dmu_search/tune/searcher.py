"""The study behind Ray Tune's searcher interface.

Ray's ``OptunaSearch`` tells trials that ASHA stopped as complete, leaves diverged ones running, and
cannot be restored after a hard kill; see the design notes in ARCHITECTURE.md.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher, SearchGenerator

from dmu_search.names import Direction
from dmu_search.study import SearchStudy
from dmu_search.study.mirror import JournalMirror

OBJECTIVE = "objective"
# Ray's words for directions.
MODES: dict[Direction, str] = {"minimize": "min", "maximize": "max"}


class StudySearcher(Searcher):
    """Hands Tune the study's proposals and the study Tune's results.

    Args:
        study: asked and told.
        mirror: gets a copy of every finished trial.
        max_concurrent: trials at a time.

    Attributes:
        restored: whether a saved state was read back.
        after_restore: then gets what each trial had reported, by id and epoch.
    """

    def __init__(self, study: SearchStudy, mirror: JournalMirror, max_concurrent: int) -> None:
        super().__init__(metric=OBJECTIVE, mode=MODES[study.direction])
        self.restored = False
        self.after_restore: Callable[[dict[str, dict[int, float]]], None] = lambda _: None
        self.study = study
        self._mirror = mirror
        self._max_concurrent = max_concurrent

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """A trial's configuration; None while enough trials run."""
        if self.study.running >= self._max_concurrent:
            return None
        proposal = self.study.ask(trial_id)
        return {
            "values": dict(proposal.values),
            "number": proposal.number,
            "warm_start": proposal.warm_start,
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass on the objective after an epoch."""
        self.study.report(trial_id, result["training_iteration"], result[OBJECTIVE])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass on how the trial ended: whole budget, stopped early, diverged or failed."""
        if not self.study.is_running(trial_id):
            return
        if error or result is None or result["diverged"]:
            self.study.fail(trial_id)
        else:
            self.study.report(trial_id, result["training_iteration"], result[OBJECTIVE])
            if result["finished"]:
                self.study.finish(trial_id, result[OBJECTIVE])
            else:
                self.study.prune(trial_id)
        self._mirror.update(self.study)

    def save(self, checkpoint_path: str) -> None:
        """Write the study's state."""
        Path(checkpoint_path).write_bytes(self.study.dump())

    def restore(self, checkpoint_path: str) -> None:
        """Read the study's state back."""
        self.study = SearchStudy.load(Path(checkpoint_path).read_bytes())
        self._mirror.update(self.study)
        self.after_restore(self.study.intermediate_values())
        self.restored = True


class TrialGenerator(SearchGenerator):
    """Ray's generator, but a restored one keeps the number of trials it was made with.

    Ray's goes back to the saved number, so that a study could never be given more trials.
    """

    def __init__(self, searcher: StudySearcher, trials: int) -> None:
        super().__init__(searcher)
        self._trials = trials

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over a saved state, less its number of trials."""
        super().set_state(state)
        self._total_samples = self._trials
        self._finished = False
