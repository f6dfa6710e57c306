"""The studies of a command: run inside Ray, compared with the paper, and exported."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape

from dmu_search.cli import finalist_pages, study_pages
from dmu_search.cli.published_values import published_in_words
from dmu_search.cli.reproduce_pages import ProgressLines
from dmu_search.cli.screen import Loudness, SearchScreen, open_console, print_warning
from dmu_search.cli.study_table import compare
from dmu_search.cli.tracked import print_unsent
from dmu_search.cli.tune import ENDED, Plan
from dmu_search.config.compose import as_yaml_value
from dmu_search.config.keys import KEYS, Value
from dmu_search.data import Data
from dmu_search.data.loading import described_splits, network_of
from dmu_search.engine.kernels.backend import BackendChoice
from dmu_search.engine.networks.module import describe
from dmu_search.engine.plans.runs import WEIGHTS_FILE, save_state
from dmu_search.engine.tasks import task_class
from dmu_search.engine.training.passes import training_backend
from dmu_search.errors import ClusterError, DmuSearchError, StorageError
from dmu_search.exit_codes import DONE, INTERRUPTED, SOME_FAILED
from dmu_search.folders import claimed, make_folder
from dmu_search.names import TASKS, is_own, signed_loss
from dmu_search.on_ray.interrupt import Stop, stop_on_signals
from dmu_search.on_ray.nodes import check_all_see, wait_for_gpus
from dmu_search.on_ray.ray_log import RAY_LOG, RayLog
from dmu_search.on_ray.resources import TrialShare
from dmu_search.on_ray.search import BestTrial, Outcome, past_trials, plan_share, run_study
from dmu_search.on_ray.witness import Witness
from dmu_search.records import Recorder, RunStart, read_events
from dmu_search.report.page_process import PageProcess
from dmu_search.retraining.best import Kept, keep_best
from dmu_search.retraining.finalists import FOLDER as FINALISTS
from dmu_search.retraining.finalists import FinalRound
from dmu_search.retraining.provenance import provenance
from dmu_search.study.files import Study, create_studies
from dmu_search.tracking import Tracking
from dmu_search.tracking.models import MODEL_FOLDER, write_model
from dmu_search.tracking.names import short_study
from dmu_search.tracking.origin import origin_tags


@dataclass(frozen=True)
class _Command:
    """What the studies of one command share."""

    console: Console
    tracking: Tracking
    stop: Stop
    studies: Sequence[Study]
    log: RayLog
    witness: Witness
    loudness: Loudness

    @property
    def progress(self) -> Console:
        """The console for what is only of interest while the search runs."""
        return open_console(quiet=True) if self.loudness == "quiet" else self.console

    def print_end(self, best: Sequence[Path], stopped: str | None) -> None:
        """Say where to look and what to type next.

        Args:
            best: a file with the best setting of each study that has one.
            stopped: why the studies stopped before their end; None if they did not.
        """
        study_pages.print_end(
            self.console, self.studies, best=best, tracking=self.tracking, stopped=stopped
        )


@dataclass(frozen=True)
class Ended:
    """What came of a search.

    Attributes:
        code: exit code of a command.
        studies: that were run; none in a dry run.
        fault: of the disk or of Ray in the middle of a study, said on the console already.
    """

    code: int
    studies: Sequence[Study] = ()
    fault: DmuSearchError | None = None


def run_studies(
    console: Console,
    plan: Plan,
    *,
    tracking: Tracking,
    locks: ExitStack,
    log: RayLog,
    witness: Witness,
) -> Ended:
    """Run studies inside Ray, one after the other.

    Args:
        console: to show them on.
        plan: which.
        tracking: not begun yet.
        locks: holds those of the studies begun before, and gets those of new ones.
        log: of Ray's own messages.
        witness: speaks where this process ends without a word.

    Raises:
        DmuSearchError: bad input, found before anything is written.
    """
    settings, data, first = plan.settings, plan.data, plan.settings[0]
    failed = False
    tracking.check()
    cluster = wait_for_gpus(first.resources, partial(print_warning, console))
    shares = [plan_share(each, data[each.task, each.data], cluster=cluster) for each in settings]
    # All input is good by now: only here does anything begin to be written.
    make_folder(first.output_dir)
    check_all_see(first.output_dir)
    tracking.begin(each.task for each in settings)
    studies = plan.begun
    if studies is None:
        studies = create_studies(settings, plan.name)
        for study in studies:
            locks.enter_context(claimed(study.folder))
    witness.entrust(study_pages.resume_text(studies, ENDED) + "\n")
    best: list[Path] = []
    log.keep(studies[0].folder / RAY_LOG)
    with stop_on_signals(first.search.time_budget_s) as stop:
        command = _Command(console, tracking, stop, studies, log, witness, plan.loudness)
        try:
            for study, share in zip(studies, shares, strict=True):
                if stop.reason is None:
                    own = data[study.settings.task, study.settings.data]
                    study_pages.print_header(
                        command.progress,
                        study,
                        data=own,
                        cluster=cluster,
                        share=share,
                        backend=_backend(study, share),
                        tracking=tracking,
                    )
                    kept, ok = _run_one(command, study, data=own, share=share)
                    best += [kept.file] if kept is not None else []
                    failed |= not ok
            # Until the last page is on the screen, one Ctrl-C more does not keep it back.
            reason = stop.reason
            if reason is None:
                compare(console, studies, recorder=tracking.recorder)
            command.print_end(best, reason)
        except (StorageError, ClusterError) as fault:
            # In the middle of a study: all that is in its journal is kept.
            _say_fault(command, fault)
            return Ended(SOME_FAILED, studies, fault)
        except KeyboardInterrupt:
            command.print_end(best, "interrupted")
            return Ended(INTERRUPTED, studies)
    if reason == "interrupted":
        return Ended(INTERRUPTED, studies)
    return Ended(SOME_FAILED if failed else DONE, studies)


def _say_fault(command: _Command, fault: DmuSearchError) -> None:
    command.console.print(f"[bold red]error:[/] {escape(str(fault))}", soft_wrap=True)
    if isinstance(fault, ClusterError) and command.log.words() is not None:
        command.console.print(f"Ray's own messages are in {command.log.path}", soft_wrap=True)
    study_pages.print_resume(command.console, command.studies, stopped="fault")


def _backend(study: Study, share: TrialShare) -> BackendChoice:
    """What the trials compute with; the native loop is built here, once, not by every worker."""
    on_gpu = bool(share.gpus) and torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    return training_backend(
        task_class(study.settings.task),
        device,
        dtype=torch.float32,
        network=study.settings.example().network,
    )


def _run_one(
    command: _Command, study: Study, *, data: Data, share: TrialShare
) -> tuple[Kept | None, bool]:
    """Run one study to its end or the stop.

    Returns:
        Where its best setting went, None if it has none yet; whether it went without failures.
    """
    settings = study.settings
    recorder = command.tracking.recorder
    recorder.start(_study_run(study, data, share=share))
    status = "FAILED"
    page = PageProcess(study, recorder)
    screen = SearchScreen(
        command.console,
        trials=settings.search.trials,
        max_epochs=settings.max_epochs,
        scheduler=settings.search.scheduler,
        metric=study_pages.objective_name(settings),
        direction=TASKS[settings.task].direction,
        published=published_in_words(settings, data),
        loudness=command.loudness,
    )

    def last_words(fault: DmuSearchError) -> None:
        with suppress(StorageError):
            recorder.end(study.name, "KILLED")
        screen.close()
        _say_fault(command, fault)
        print_unsent(command.console, command.tracking, settings=settings.tracking, within_s=10.0)
        command.witness.dismiss()

    try:
        screen.resume(past_trials(study))
        with screen:
            outcome = run_study(
                study,
                data,
                share=share,
                tracking=command.tracking,
                watcher=screen,
                beside=page.follow,
                last_words=last_words,
            )
        kept, final = None, FinalRound(study)
        if outcome.best is not None:
            outcome, kept = _settle(
                command, study, data=data, share=share, outcome=outcome, final=final
            )
        unfinished = outcome.missing or final.due
        status = "KILLED" if command.stop.reason and unfinished else "FINISHED"
        how = "finished" if status == "FINISHED" else "interrupted"
        recorder.tag(study.name, {"outcome": how})
        study_pages.print_result(
            command.console,
            study,
            outcome=outcome,
            data=data,
            kept=kept,
            failures=screen.failures,
        )
        if outcome.best is not None and not outcome.missing:
            _print_final(command.console, study, final=final)
        # The page takes seconds, which nobody has to wait for to see the result.
        fault = page.finish()
        if fault is not None:
            print_warning(command.console, fault)
    except (StorageError, ClusterError):
        status = "KILLED"
        raise
    finally:
        page.end()
        # On a full disk this fails as what came before it did; the first fault is the one to tell.
        with suppress(StorageError):
            recorder.end(study.name, status)
    failed = screen.failures or final.due or outcome.best is None
    return kept, not screen.failures and (status == "KILLED" or not failed)


def _settle(
    command: _Command,
    study: Study,
    *,
    data: Data,
    share: TrialShare,
    outcome: Outcome,
    final: FinalRound,
) -> tuple[Outcome, Kept]:
    """Keep the best setting as the search has it, then as its finalists have it if these are due.

    Returns:
        The outcome with the trial that won as its best, and where that went.
    """
    backend = _backend(study, share).name
    kept = _keep(command, study, data=data, outcome=outcome, final=final, backend=backend)
    if not final.due or command.stop.reason is not None:
        return kept
    _train_finalists(command, study, data=data, share=share, final=final)
    for name, trial, weights in final.trained():
        _keep_model(
            command,
            study,
            data=data,
            trial=trial.number,
            values=trial.values,
            summary={},
            weights=weights,
            run_id=name,
            folder=study.folder / FINALISTS / name / MODEL_FOLDER,
        )
    return _keep(command, study, data=data, outcome=outcome, final=final, backend=backend)


def _train_finalists(
    command: _Command, study: Study, *, data: Data, share: TrialShare, final: FinalRound
) -> None:
    """Train the finalists that are due, saying which they are and how far they have got."""
    console, finalists = command.progress, final.selection.finalists
    assert finalists is not None, "finalists are due"
    finalist_pages.print_finalists(console, study.settings, final=final)
    lines = ProgressLines(console, len(finalists.missing))
    for progress in final.train(
        data,
        share=share,
        tracking=command.tracking,
        stopped=lambda: command.stop.reason is not None,
    ):
        lines.show(progress)


def _print_final(console: Console, study: Study, *, final: FinalRound) -> None:
    if final.confirmation is not None:
        metric = f"val_{task_class(study.settings.task).objective}"
        finalist_pages.print_confirmation(console, final.confirmation, metric=metric)
    elif final.selection.finalists is None:
        finalist_pages.print_finalists(console, study.settings, final=final)
    else:
        print_warning(console, f"the best setting is unconfirmed: {final.why_unconfirmed}")


def _study_run(study: Study, data: Data, *, share: TrialShare) -> RunStart:
    settings = study.settings
    params = {name: as_yaml_value(value) for name, value in settings.fixed.items()}
    # Apart from the values of trials, which charts have as numbers.
    params |= {f"space/{name}": str(distribution) for name, distribution in settings.space.items()}
    params |= {
        f"search.{name}": getattr(settings.search, name)
        for name in (
            "trials",
            "objective",
            "sampler",
            "scheduler",
            "seed",
            "reduction_factor",
            "warm_start",
            "finalists",
            "finalist_seeds",
            "finalist_share",
        )
    }
    params["search.grace_epochs"] = settings.grace_epochs
    return RunStart(
        run_id=study.name,
        name=f"{short_study(study.name, settings.task)}: {settings.search.trials} trials",
        kind="study",
        params={name: value if value is None else str(value) for name, value in params.items()},
        tags={
            "study": study.name,
            "task": settings.task,
            "model": settings.model,
            "depth": str(settings.depth),
            "data.name": data.name,
            "data.sha256": data.sha256,
            "concurrent_trials": str(share.concurrent),
            "gpus_per_trial": f"{share.gpus:g}",
            "objective": f"val_{task_class(settings.task).objective}",
            "direction": TASKS[settings.task].direction,
            "searched": json.dumps(list(settings.space)),
            "everywhere": json.dumps(
                [name for name in settings.space if KEYS[name].only_if is None]
            ),
            "outcome": "running",
            **origin_tags(gpus=share.gpus),
        },
        datasets=described_splits(settings.task, settings.data, data=data),
    )


def _keep(
    command: _Command,
    study: Study,
    *,
    data: Data,
    outcome: Outcome,
    final: FinalRound,
    backend: str,
) -> tuple[Outcome, Kept]:
    """Export the best setting, with its weights, and put it on the study's run.

    Returns:
        The outcome with the trial that fresh seeds confirmed as its best, and where that went.
    """
    confirmation, best = final.confirmation, outcome.best
    assert best is not None, "there is a best trial"
    if confirmation is not None:
        best = BestTrial.of(study, confirmation.winner.trial)
    settings, tracking = study.settings, command.tracking
    page = tracking.page(best.run_id)
    source = provenance(
        study=study.name,
        data=data,
        metrics=best.summary,
        objective=best.objective,
        search_objective=settings.search.objective,
        finalists=final.provenance(),
        trial=best.number,
        warm_start=best.warm_start,
        run_id=best.run_id,
        mlflow_run=None if page is None else page.mlflow_id,
        sampler_seed=settings.search.seed,
        trials=settings.search.trials,
        backend=backend,
    )
    kept = keep_best(
        study.folder,
        settings.output_dir,
        run=settings.run(best.values),
        source=source,
        pending=final.due,
    )
    recorder = tracking.recorder
    fresh = {} if confirmation is None else confirmation.metrics()
    recorder.summarise(study.name, {"objective": best.objective, **best.summary, **fresh})
    state = "confirmed" if confirmation else f"unconfirmed: {final.why_unconfirmed}"
    _tag_best(recorder, study.name, run_id=best.run_id)
    tags = {"best_trial": str(best.number), "best_run": best.run_id, "finalists": state}
    recorder.tag(study.name, tags)
    recorder.attach(study.name, kept.own)
    _keep_weights(command, study, data=data, best=best, weights=final.weights() or best.weights())
    return replace(outcome, best=best), kept


def _tag_best(recorder: Recorder, study: str, *, run_id: str) -> None:
    """Mark the run of the best trial; the one that was marked before is the best no more."""
    marked = [
        event["tags"]["best_run"]
        for event in read_events(recorder.folder / f"{study}.jsonl")
        if event["event"] == "tags" and "best_run" in event["tags"]
    ]
    if marked and marked[-1] != run_id:
        recorder.tag_if_there(marked[-1], {"best": "no"})
    recorder.tag_if_there(run_id, {"best": "yes"})


def _keep_weights(
    command: _Command,
    study: Study,
    *,
    data: Data,
    best: BestTrial,
    weights: Mapping[str, torch.Tensor] | None,
) -> None:
    if weights is None:
        print_warning(
            command.console,
            f"{best.checkpoint or study.checkpoints}: the state of trial {best.number} is missing "
            "or damaged, so its weights are not exported; train the setting to have others",
        )
    else:
        path = study.folder / WEIGHTS_FILE
        save_state(path, weights)
        command.tracking.recorder.attach(study.name, path)
        _keep_model(
            command,
            study,
            data=data,
            trial=best.number,
            values=best.values,
            summary=best.summary,
            weights=weights,
            run_id=study.name,
            folder=study.folder / MODEL_FOLDER,
        )


def _keep_model(
    command: _Command,
    study: Study,
    *,
    data: Data,
    trial: int,
    values: Mapping[str, Value],
    summary: Mapping[str, float],
    weights: Mapping[str, torch.Tensor],
    run_id: str,
    folder: Path,
) -> None:
    """The replica with the best validation result, as a model that MLflow loads."""
    settings = study.settings
    network = settings.run(values).network
    description = describe(network_of(settings.task, data, settings=network), network)
    replicas = next(iter(weights.values())).shape[0]
    chosen = _best_replica(summary, settings.task, count=replicas)
    write_model(folder, description, weights={name: each[chosen] for name, each in weights.items()})
    tags = {
        "study": study.name,
        "task": settings.task,
        "model": settings.model,
        "depth": str(settings.depth),
        "trial_number": str(trial),
        "replica": str(chosen),
    }
    if is_own(settings.model):
        return  # MLflow's process does not have the user's cell.
    command.tracking.recorder.attach_model(run_id, folder, name=settings.title, tags=tags)


def _best_replica(summary: Mapping[str, float], task: str, *, count: int) -> int:
    """The replica with the best validation result; the first where they are not told apart."""
    name = f"best_val_{task_class(task).objective}/replica_"
    losses = {
        replica: signed_loss(summary[f"{name}{replica}"], TASKS[task].direction)
        for replica in range(count)
        if math.isfinite(summary.get(f"{name}{replica}", math.nan))
    }
    return min(losses, key=lambda replica: losses[replica], default=0)
