"""Running one study: its trials under Ray Tune, from the start or from where it stopped."""

import os
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import ray
import torch
from ray import tune
from ray.tune import PlacementGroupFactory
from ray.tune.experiment import Trial

from dmu_search.data.loading import described_splits, make_task
from dmu_search.engine.training.snapshots import read_snapshot
from dmu_search.engine.training.trainer import Trainer
from dmu_search.errors import DmuSearchError, StorageError
from dmu_search.on_ray.checkpoints import Checkpoints
from dmu_search.on_ray.cluster_watch import ClusterWatch
from dmu_search.on_ray.following import Following
from dmu_search.on_ray.interrupt import Halt
from dmu_search.on_ray.lean import waiting_processes
from dmu_search.on_ray.nodes import NodeNews, check_fits, largest_node
from dmu_search.on_ray.own_rows import packed_own_rows, unpack_own_rows
from dmu_search.on_ray.progress import TrialView, Watcher
from dmu_search.on_ray.resources import TrialShare, share_for_memory, trial_share
from dmu_search.on_ray.searcher import StudyScheduler, StudySearcher
from dmu_search.on_ray.session import Cluster
from dmu_search.on_ray.trainable import TrainingTrial
from dmu_search.on_ray.trial_faults import memory_kills_as_deaths
from dmu_search.study.files import Study
from dmu_search.study.journal import Journal
from dmu_search.study.mirror import JournalMirror
from dmu_search.study.search_study import SearchStudy
from dmu_search.study.settings import StudySettings
from dmu_search.study.trials import StudyState, TrialState
from dmu_search.tracking import Tracking
from dmu_search.tracking.origin import origin_tags
from dmu_search.tracking.trial_runs import TrialRuns, trial_run_id

# More carriers than any study asks for, and longer than any study lasts.
_MANY = 10**9
_NEVER_S = 10**9


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

    @classmethod
    def of(cls, study: Study, trial: TrialState) -> "BestTrial":
        """A trial of ``study`` that used its whole budget."""
        assert trial.objective is not None, "a finished trial has an objective"
        newest = trial.checkpoints[-1:]
        return cls(
            number=trial.number,
            run_id=trial_run_id(study.name, trial.number),
            objective=trial.objective,
            values=trial.values,
            warm_start=trial.source,
            summary=trial.summary,
            checkpoint=study.checkpoints / newest[0].file if newest else None,
        )

    def weights(self) -> dict[str, torch.Tensor] | None:
        """The weights of the best epoch, ``(replica, ..)`` each; None without a checkpoint."""
        state = None if self.checkpoint is None else read_snapshot(self.checkpoint)
        return None if state is None else state.get("best_weights")


@dataclass(frozen=True)
class Outcome:
    """How a study stands when its search ends or is stopped.

    Attributes:
        best: None while no trial used its whole budget.
        counts: status -> number of trials.
        warm_starts: source -> objective of the finished warm starts.
        missing: trials not yet finished, stopped early or failed.
        spent: epochs so far and the last improvement, in words.
        enough: why the search begins no more trials, in words; None while it does.
    """

    best: BestTrial | None
    counts: Mapping[str, int]
    warm_starts: Mapping[str, float]
    missing: int
    spent: str
    enough: str | None


def plan_share(study: StudySettings, data: Any, *, cluster: Cluster) -> TrialShare:
    """What each trial gets; on GPUs a share is measured where none is named.

    Raises:
        ConfigError: no machine can carry a trial.
    """
    measured = None
    if cluster.gpus and study.resources.gpus_per_trial == "auto":
        probe: Any = ray.remote(num_gpus=1)(cast(Any, measure_gpu_share))
        measured = ray.get(probe.remote(study, data, own=packed_own_rows()))
    share = trial_share(
        study.resources,
        cpus=cluster.cpus,
        gpus=cluster.gpus,
        measured_gpu_share=measured,
        max_concurrent=study.search.max_concurrent,
    )
    check_fits(share)
    return share


def measure_gpu_share(study: StudySettings, data: Any, *, own: bytes) -> float:
    """Train one epoch on a GPU of its own and see how much memory that took.

    Without CUDA (logical GPUs only) there is no memory to share out: a whole card.
    """
    if not torch.cuda.is_available():
        return 1.0
    unpack_own_rows(own)
    # What is taken before anything is allocated is CUDA's own context, which every trial pays too.
    free, total = torch.cuda.mem_get_info()
    run = study.heaviest()
    trainer = Trainer(
        make_task(study.task, data, device="cuda"), run.network, training=run.training
    )
    trainer.run_epoch()
    return share_for_memory(total - free + torch.cuda.max_memory_reserved(), total)


def run_study(
    study: Study,
    data: Any,
    *,
    share: TrialShare,
    tracking: Tracking,
    watcher: Watcher,
    last_words: Callable[[DmuSearchError], None],
    beside: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run the trials that the study still lacks; a fresh Tune run, fed by the journal.

    Returns when all are done, or in order after ``SIGUSR1``. The caller holds the study's lock.

    Args:
        study: new, or begun by an earlier call.
        data: of the task, shared by all trials.
        share: what each trial gets.
        tracking: where runs go; the study's own run is open.
        watcher: told of every change.
        last_words: says that Ray is lost, on another thread, where Ray keeps this one from saying
            it; the runs of the trials are closed by then, and the process ends next.
        beside: called several times a second, for what goes on beside the search.

    Raises:
        StorageError: the journal is damaged, or the disk is full; what is in the journal is kept.
        ClusterError: Ray is lost; what is in the journal is kept.
    """
    settings = study.settings
    journal = Journal(study.journal)
    own = SearchStudy.of(settings, events=study.events(), append=journal.append)
    journal.append({"event": "session", "pid": os.getpid(), "host": socket.gethostname()})
    halt = Halt()
    runs = TrialRuns(
        study,
        tracking.recorder,
        origin=origin_tags(gpus=share.gpus),
        datasets=described_splits(settings.task, settings.data, data=data),
    )
    mirror = JournalMirror.of(study)

    def news() -> Sequence[str]:
        beside()
        return tracking.news()

    following = Following(own, runs, mirror=mirror, watcher=watcher, halt=halt, news=news)
    checkpoints = Checkpoints(study.checkpoints, own, limit_mb=settings.search.checkpoint_mb)

    def close_lost(fault: DmuSearchError) -> None:
        with suppress(StorageError):
            runs.interrupt()
        last_words(fault)

    watch = ClusterWatch(halt, close_lost)
    scheduler = StudyScheduler(
        own, checkpoints, halt=halt, watch=watch, min_free_mb=settings.search.min_free_mb
    )
    checkpoints.sweep()
    following.begin()
    try:
        if not own.over:
            searcher = StudySearcher(own, halt, max_concurrent=share.concurrent, say=watcher.say)
            with watch.lifeline.in_words(), watch, memory_kills_as_deaths():
                callbacks = [following, NodeNews(watcher.say)]
                _carry_out(
                    study,
                    data,
                    searcher=searcher,
                    share=share,
                    scheduler=scheduler,
                    callbacks=callbacks,
                )
        if halt.fault is not None:
            raise halt.fault
        # The study ends paused trials when no carrier is left to tell of it.
        checkpoints.tidy()
    finally:
        # On a full disk this fails too; the next resume closes the runs.
        with suppress(StorageError):
            following.end()
            runs.interrupt()
        journal.close()
    return _outcome(study, own)


def _carry_out(
    study: Study,
    data: Any,
    *,
    searcher: StudySearcher,
    share: TrialShare,
    scheduler: StudyScheduler,
    callbacks: list[tune.Callback],
) -> None:
    # Tune asks for one trial at a time unless it is told how many may wait.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(share.concurrent)
    # Nor do its own files of every result, and a state that names all trials, help anybody.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(_NEVER_S)
    trainable = tune.with_parameters(
        TrainingTrial,
        study=study.settings,
        data=data,
        checkpoints=study.checkpoints.resolve(),
        own=packed_own_rows(),
    )
    # Tune's own state is never read back, so it does not belong among the results.
    with (
        tempfile.TemporaryDirectory(prefix="dmu_search-tune-") as scratch,
        waiting_processes(),
    ):
        tune.run(
            tune.with_resources(trainable, partial(_resources, share=share, whole=largest_node())),
            name="tune",
            storage_path=scratch,
            # The study says when it is over.
            num_samples=_MANY,
            search_alg=searcher,
            scheduler=scheduler,
            callbacks=callbacks,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_folder,
            raise_on_failed_trial=False,
            verbose=0,
        )


def _resources(
    config: Mapping[str, Any], *, share: TrialShare, whole: Mapping[str, float]
) -> PlacementGroupFactory:
    """A trial's share; a larger one, up to a whole machine, for a trial that lacked memory."""
    cpus = min(share.cpus * config["room"], max(whole["CPU"], share.cpus))
    most_gpus = 1.0 if share.gpus < 1 else max(whole["GPU"], share.gpus)
    gpus = min(share.gpus * config["room"], most_gpus)
    bundle = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    return PlacementGroupFactory([bundle])


def past_trials(study: Study) -> list[TrialView]:
    """The trials that an earlier call ended, as a watcher would have been told of them.

    Raises:
        StorageError: the journal is damaged.
    """
    trials = StudyState.of(study.events()).trials.values()
    return [TrialView.of(trial) for trial in trials if trial.status != "open"]


def _trial_name(trial: Trial) -> str:
    return f"trial-{trial.config['number']:04d}"


def _trial_folder(trial: Trial) -> str:
    # With its id: one trial may be carried several times.
    return f"{_trial_name(trial)}-{trial.trial_id}"


def _outcome(study: Study, own: SearchStudy) -> Outcome:
    trials = own.trials.values()
    finished = [trial for trial in trials if trial.status == "finished"]
    over = sum(trial.over for trial in trials)
    return Outcome(
        best=None if own.best is None else BestTrial.of(study, own.best),
        counts=Counter(trial.status for trial in trials),
        warm_starts={
            trial.source: trial.objective
            for trial in finished
            if trial.source is not None and trial.objective is not None
        },
        missing=0 if own.over else max(0, study.settings.search.trials - over),
        spent=own.spending.in_words(study.settings.max_epochs),
        enough=own.enough,
    )
