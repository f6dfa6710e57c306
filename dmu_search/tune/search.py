"""Running one study: its trials under Ray Tune, from the start or from where it stopped."""

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune import CheckpointConfig
from ray.tune.experiment import Trial

from dmu_search.data.loading import make_task
from dmu_search.engine.training.trainer import Trainer
from dmu_search.errors import StorageError
from dmu_search.names import TASKS
from dmu_search.study import SearchStudy, WarmStart
from dmu_search.study.files import Study
from dmu_search.study.mirror import JournalMirror
from dmu_search.study.settings import StudySettings
from dmu_search.tracking import Tracking
from dmu_search.tune.callback import StudyCallback, trial_run_id
from dmu_search.tune.progress import TrialView, Watcher
from dmu_search.tune.resources import TrialShare, share_for_memory, trial_share
from dmu_search.tune.scheduler import ResumableASHA, make_scheduler
from dmu_search.tune.searcher import StudySearcher, TrialGenerator
from dmu_search.tune.session import Cluster
from dmu_search.tune.trainable import CHECKPOINT_FILE, TrainingTrial

# A process that dies (a node, the kernel's out-of-memory killer) takes no trial with it.
_MAX_FAILURES = 2


@dataclass(frozen=True)
class BestTrial:
    """The trial with the best objective among those that used their whole budget.

    Attributes:
        number: in the study, from 0.
        run_id: of its recorded run.
        objective: by ``search.objective``, of the best validation results of the replicas.
        values: its searched settings.
        warm_start: source of a warm start, else None.
        summary: metrics of all splits at the best epoch.
        checkpoint: file with its state.
    """

    number: int
    run_id: str
    objective: float
    values: Mapping[str, Any]
    warm_start: str | None
    summary: Mapping[str, float]
    checkpoint: Path | None

    def weights(self) -> dict[str, torch.Tensor] | None:
        """The weights of the best epoch, ``(replica, ..)`` each; None without a checkpoint."""
        if self.checkpoint is None:
            return None
        state = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
        weights: dict[str, torch.Tensor] = state["best_weights"]
        return weights


@dataclass(frozen=True)
class Outcome:
    """How a study stands when its search ends or is stopped.

    Attributes:
        best: None while no trial used its whole budget.
        counts: Optuna's trial state -> number of trials.
        warm_starts: source -> objective of the finished warm starts.
        missing: trials not yet finished, stopped early or failed.
    """

    best: BestTrial | None
    counts: Mapping[str, int]
    warm_starts: Mapping[str, float]
    missing: int


def plan_share(study: StudySettings, data: Any, cluster: Cluster) -> TrialShare:
    """What each trial gets; on GPUs a share is measured where none is named."""
    measured = None
    if cluster.gpus and study.resources.gpus_per_trial == "auto":
        probe = ray.remote(num_gpus=1)(measure_gpu_share)
        measured = ray.get(probe.remote(study, data))
    return trial_share(
        study.resources,
        cpus=cluster.cpus,
        gpus=cluster.gpus,
        measured_gpu_share=measured,
        max_concurrent=study.search.max_concurrent,
    )


def measure_gpu_share(study: StudySettings, data: Any) -> float:
    """Train one epoch on a GPU of its own and see how much memory that took.

    Without CUDA (logical GPUs only) there is no memory to share out: a whole card.
    """
    if not torch.cuda.is_available():
        return 1.0
    # What is taken before anything is allocated is CUDA's own context, which every trial pays too.
    free, total = torch.cuda.mem_get_info()
    run = study.heaviest()
    trainer = Trainer(make_task(study.task, data, device="cuda"), run.network, run.training)
    trainer.run_epoch()
    return share_for_memory(total - free + torch.cuda.max_memory_reserved(), total)


def run_study(
    study: Study,
    data: Any,
    *,
    share: TrialShare,
    tracking: Tracking,
    watcher: Watcher,
) -> Outcome:
    """Run the trials that the study still lacks.

    Returns when all are done, or in order after ``SIGUSR1``.

    Args:
        study: new, or with the state of an earlier call in its folder.
        data: of the task, shared by all trials.
        share: what each trial gets.
        tracking: where runs go; the study's own run is open.
        watcher: told of every change.

    Raises:
        StorageError: the saved state cannot be read.
    """
    settings = study.settings
    scheduler = make_scheduler(settings)
    searcher = _searcher(study, share.concurrent)
    if isinstance(scheduler, ResumableASHA):
        searcher.after_restore = scheduler.replay
    callback = StudyCallback(study, tracking, watcher, searcher)
    resume = _has_state(study)
    callback.must_be_restored = resume
    # Tune asks for one trial at a time unless it is told how many may wait.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(share.concurrent)
    try:
        analysis = tune.run(
            tune.with_parameters(TrainingTrial, study=settings, data=data),
            name="tune",
            storage_path=str(study.folder.resolve()),
            num_samples=settings.search.trials,
            search_alg=TrialGenerator(searcher, settings.search.trials),
            scheduler=scheduler,
            callbacks=[callback],
            reuse_actors=True,
            resources_per_trial={"cpu": share.cpus, "gpu": share.gpus},
            checkpoint_config=CheckpointConfig(num_to_keep=2, checkpoint_at_end=True),
            max_failures=_MAX_FAILURES,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_folder,
            resume=resume,
            raise_on_failed_trial=False,
            verbose=0,
        )
    finally:
        callback.close_open_runs()
    return _outcome(study, searcher.study, analysis.trials)


def past_trials(study: Study) -> list[TrialView]:
    """The trials that an earlier call ended, as a watcher would have been told of them."""
    path = _newest_state(study, "searcher-state-*.pkl")
    if path is None or not _has_state(study):
        return []
    saved = SearchStudy.load(path.read_bytes())
    return [
        TrialView(
            number=trial.number,
            status=_STATUS_OF_STATE[trial.state.name],
            epoch=trial.last_step or 0,
            objective=trial.value if trial.state.name != "FAIL" else None,
            values=dict(trial.params),
            warm_start=trial.user_attrs.get("warm_start"),
        )
        for trial in saved.trials
        if trial.state.is_finished()
    ]


_STATUS_OF_STATE = {"COMPLETE": "finished", "PRUNED": "stopped early", "FAIL": "failed"}


def _searcher(study: Study, concurrent: int) -> StudySearcher:
    settings = study.settings
    direction = TASKS[settings.task].direction
    search_study = SearchStudy(
        settings.space,
        sampler=settings.search.sampler,
        seed=settings.search.seed,
        startup_trials=settings.search.startup_trials,
        direction=direction,
        warm_starts=[WarmStart(point.source, point.values) for point in settings.warm_starts],
    )
    mirror = JournalMirror(study.folder / "optuna.journal", study.name, direction)
    return StudySearcher(search_study, mirror, concurrent)


def _has_state(study: Study) -> bool:
    """Whether an earlier call got as far as a trial."""
    path = _newest_state(study, "experiment_state-*.json")
    if path is None:
        return False
    try:
        return bool(json.loads(path.read_text(encoding="utf-8"))["trial_data"])
    except (ValueError, KeyError) as fault:
        raise StorageError(
            f"{path}: the state of the study cannot be read ({fault}); restore the file, "
            "or start a new study"
        ) from None


def _newest_state(study: Study, pattern: str) -> Path | None:
    # Tune's own order: its file names hold the time at which a session began.
    return max((study.folder / "tune").glob(pattern), key=lambda path: path.name, default=None)


def _trial_name(trial: Trial) -> str:
    return f"trial-{trial.config['number']:04d}"


def _trial_folder(trial: Trial) -> str:
    # With its id: after a kill, a trial of the same number may have left a folder behind.
    return f"{_trial_name(trial)}-{trial.trial_id}"


def _outcome(study: Study, search_study: SearchStudy, trials: list[Trial]) -> Outcome:
    done = [trial for trial in search_study.trials if trial.state.is_finished()]
    best = search_study.best
    warm = {
        trial.user_attrs["warm_start"]: trial.value
        for trial in done
        if "warm_start" in trial.user_attrs and trial.state.name == "COMPLETE"
    }
    return Outcome(
        best=None if best is None else _best_trial(study, best, trials),
        counts=Counter(trial.state.name for trial in search_study.trials),
        warm_starts={source: value for source, value in warm.items() if value is not None},
        missing=max(0, study.settings.search.trials - len(done)),
    )


def _best_trial(study: Study, best: Any, trials: list[Trial]) -> BestTrial:
    trial_id = best.user_attrs["trial_id"]
    checkpoint = next(trial.checkpoint for trial in trials if trial.trial_id == trial_id)
    return BestTrial(
        number=best.number,
        run_id=trial_run_id(study.name, trial_id),
        objective=best.value,
        values=dict(best.params),
        warm_start=best.user_attrs.get("warm_start"),
        summary=best.user_attrs["summary"],
        checkpoint=None if checkpoint is None else Path(checkpoint.path, CHECKPOINT_FILE),
    )
