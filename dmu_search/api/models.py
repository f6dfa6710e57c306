"""Trained networks as plain torch modules."""

from pathlib import Path

from dmu_search.config.roots import default_of
from dmu_search.engine.networks.module import TrainedNetwork
from dmu_search.retraining.best import BEST_FILE
from dmu_search.retraining.trained import trained_network
from dmu_search.study.files import STUDY_FILE


def load(path: str | Path, *, output_dir: str | Path | None = None) -> TrainedNetwork:
    """The network that was trained with a setting, with the weights of its best epoch.

    Args:
        path: a best file, as ``runs/best/polymusic/dmu-d1.yaml``, or the folder of a study.
        output_dir: where trainings of the setting are looked for; None: ``runs``.

    Returns:
        A ``torch.nn.Module`` on the CPU: called with features ``(batch, time, feature)`` or words
        ``(batch, time)``, it gives linear outputs for each step, ``(batch, time, output)``. Of
        several replicas it is the one with the best validation result.

    Raises:
        ConfigError: the path is neither, or there are no weights of this setting.
        StorageError: the model is damaged.
    """
    given = Path(path)
    file = given / BEST_FILE if (given / STUDY_FILE).is_file() else given
    return trained_network(file, Path(str(output_dir or default_of("output_dir"))))[0]
