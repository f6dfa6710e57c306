"""A study as an object: its best setting, its trials and epochs as data frames, its plots."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dmu_search.api.models import load
from dmu_search.engine.networks.module import TrainedNetwork
from dmu_search.errors import ConfigError
from dmu_search.folders import write_whole
from dmu_search.names import TASKS
from dmu_search.report.pictures import picture
from dmu_search.report.study_note import ranked, winner_of
from dmu_search.report.study_page import study_figures
from dmu_search.retraining.best import BEST_FILE
from dmu_search.retraining.finalists import FinalRound
from dmu_search.study.files import STUDY_FILE, find_studies
from dmu_search.study.files import Study as StudyOnDisk
from dmu_search.study.importance import importances
from dmu_search.study.settings import StudySettings


@dataclass(frozen=True)
class Best:
    """The best setting of a study.

    Attributes:
        trial: its number, from 0.
        objective: best validation result of the search, all replicas as one.
        values: its searched settings by dotted key.
        metrics: of all splits at the best epoch, as ``test_nll_nats``.
        source: ``paper`` or ``released`` for a published setting, None for a proposed one.
        confirmed: whether fresh seeds chose it among the finalists.
        file: that ``train config=FILE`` and ``ds.load`` take.
    """

    trial: int
    objective: float
    values: Mapping[str, Any]
    metrics: Mapping[str, float]
    source: str | None
    confirmed: bool
    file: Path


class Picture:
    """A plot, which a notebook shows by itself.

    Attributes:
        png: the picture.
    """

    def __init__(self, png: bytes) -> None:
        self.png = png

    def save(self, path: str | Path) -> Path:
        """Write it to a file; returns its path.

        Raises:
            StorageError: it cannot be written.
        """
        write_whole(Path(path), self.png)
        return Path(path)

    def _repr_png_(self) -> bytes:
        return self.png


class Study:
    """A study on disk, read anew at every call; another process may go on with it meanwhile.

    Attributes:
        name: of the study.
        folder: with all of it.
        settings: what is searched, and how.
    """

    def __init__(self, study: StudyOnDisk) -> None:
        self._study = study
        self.name: str = study.name
        self.folder: Path = study.folder
        self.settings: StudySettings = study.settings

    def __repr__(self) -> str:
        best = self.best
        said = "no result yet" if best is None else f"best {best.objective:.6g}"
        return f"<Study {self.name}: {len(self._final().trials)} trials, {said}>"

    @property
    def best(self) -> Best | None:
        """The winner: of the finalists, else of the search; None before a trial finished.

        Raises:
            StorageError: the journal is damaged.
        """
        final = self._final()
        winner = winner_of(final.trials, self.settings, confirmation=final.confirmation)
        if winner is None or winner.objective is None:
            return None
        return Best(
            trial=winner.number,
            objective=winner.objective,
            values=dict(winner.values),
            metrics=dict(winner.summary),
            source=winner.source,
            confirmed=final.confirmation is not None,
            file=self.folder / BEST_FILE,
        )

    def trials_frame(self) -> pd.DataFrame:
        """A row per trial, the best first.

        Returns:
            ``trial``, ``status``, ``source``, ``epoch`` (done so far), ``objective`` (best
            validation result so far), ``wall_time_s`` (of its epochs), ``error``; then each
            searched key, missing where it did not apply; then the metrics at the best epoch of
            trials that used their whole budget.

        Raises:
            StorageError: the journal is damaged.
        """
        rows = [
            {
                "trial": trial.number,
                "status": trial.status,
                "source": trial.source,
                "epoch": trial.epoch,
                "objective": math.nan if trial.objective is None else trial.objective,
                "wall_time_s": sum(
                    each.get("epoch_wall_time_s", 0.0) for each in trial.metrics.values()
                ),
                "error": trial.error,
                **{name: trial.values.get(name) for name in self.settings.space},
                **trial.summary,
            }
            for trial in ranked(self._final().trials, self.settings)
        ]
        return pd.DataFrame(rows)

    def curves_frame(self) -> pd.DataFrame:
        """A row per trial and epoch.

        Returns:
            ``trial``, ``epoch`` (from 1), ``objective`` (the best so far), then each metric.

        Raises:
            StorageError: the journal is damaged.
        """
        rows = [
            {"trial": trial.number, "epoch": epoch, "objective": objective, **trial.metrics[epoch]}
            for trial in self._final().trials.values()
            for epoch, objective in sorted(trial.objectives.items())
        ]
        return pd.DataFrame(rows)

    def plot(self, kind: str = "learning_curves") -> Picture:
        """A picture of the study.

        Args:
            kind: ``learning_curves``, ``history``, ``importance``, ``slice``,
                ``parallel_coordinates``, ``contour`` or ``rungs``.

        Raises:
            ConfigError: there is no such plot, or the study has too few trials for it yet.
            StorageError: the journal is damaged.
        """
        final = self._final()
        direction = TASKS[self.settings.task].direction
        shares = importances(final.trials, space=self.settings.space, direction=direction)
        drawn = {each.name: each for each in study_figures(self._study, final, importances=shares)}
        if kind not in drawn:
            raise ConfigError(f"plot: this study has {', '.join(drawn)}, got {kind!r}")
        return Picture(picture(drawn[kind]))

    def load(self) -> TrainedNetwork:
        """The best network; see ``dmu_search.load``."""
        return load(self.folder)

    def _final(self) -> FinalRound:
        return FinalRound(self._study)


def open_study(folder: str | Path) -> Study:
    """A study that ``tune`` wrote, also while it runs.

    Args:
        folder: as ``runs/studies/NAME``.

    Raises:
        ConfigError: there is no study.
    """
    path = Path(folder)
    if not (path / STUDY_FILE).is_file():
        raise ConfigError(
            f"{path}: is no study: it has no {STUDY_FILE}; name a folder that tune wrote"
        )
    (study,) = find_studies(path.parent.parent, path.resolve().name, given={})
    return Study(study)
