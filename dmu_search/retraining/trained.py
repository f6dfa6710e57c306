"""The network that was trained with a file's setting: from a configuration to weights."""

from pathlib import Path

from dmu_search.config.roots import default_of
from dmu_search.engine.networks.module import TrainedNetwork
from dmu_search.errors import ConfigError, StorageError
from dmu_search.folders import OutputFolder
from dmu_search.results.trainings import RecordedRun, read_runs
from dmu_search.retraining.best import BEST_FILE
from dmu_search.retraining.exported import RunFile, read_run_file
from dmu_search.retraining.run import CONFIG_FILE
from dmu_search.retraining.sources import fixed_defaults
from dmu_search.tracking.models import MODEL_FOLDER, NETWORK_FILE, WEIGHTS_FILE, read_model


def trained_network(path: Path, output_dir: Path) -> tuple[TrainedNetwork, Path]:
    """The network of a file, with the weights of its best epoch, and the folder it lies in.

    The first of these that there is: the model beside the file, as a study and a training keep it;
    that of the study or the training that wrote the file; that of a training of the same setting
    recorded in ``output_dir``, the one with the most epochs, then the latest.

    Args:
        path: of an exported or hand-written file.
        output_dir: where trainings of the setting are looked for.

    Raises:
        ConfigError: the file is faulty, or no weights are there; says which command trains them.
        StorageError: the model is damaged.
    """
    file = read_run_file(path)
    folder = _beside(path) or _of_its_writer(path, file, output_dir=output_dir)
    folder = folder or _of_a_training(file, output_dir)
    if folder is None:
        usual = str(output_dir) == str(default_of("output_dir"))
        where = "" if usual else f" output_dir={output_dir}"
        raise ConfigError(
            f"{path}: there are no weights of this setting in {output_dir}; train them: "
            f"python -m dmu_search train config={path}{where}"
        )
    try:
        return read_model(folder), folder
    # What torch, json and the network raise for a damaged file is many things.
    except Exception as fault:
        raise StorageError(
            f"{folder}: the model is damaged ({type(fault).__name__}); delete the folder and "
            f"train again: python -m dmu_search train config={path}"
        ) from None


def _beside(path: Path) -> Path | None:
    """The model of the study or training whose own file this is."""
    own = path.name in (BEST_FILE, CONFIG_FILE)
    return _model_in(path.parent) if own else None


def _of_its_writer(path: Path, file: RunFile, *, output_dir: Path) -> Path | None:
    """The model of the study or training named in the file, if it still has this setting."""
    name = str(file.provenance.get("study", ""))
    if not name or Path(name).name != name:
        return None
    # The file lies somewhere below the folder of results that it was written into.
    for root in (*path.absolute().parents, output_dir):
        places = OutputFolder(root)
        for folder, own in (
            (places.studies / name, BEST_FILE),
            (places.retrained / name, CONFIG_FILE),
        ):
            if (folder / own).is_file() and read_run_file(folder / own).values == file.values:
                return _model_in(folder)
    return None


def _of_a_training(file: RunFile, output_dir: Path) -> Path | None:
    """The model of a recorded training of the setting, on the data that it was found on."""
    setting = file.run({}, fixed_defaults(file.task, file.model)).setting
    places = OutputFolder(output_dir)
    # A damaged record is no reason to refuse the others.
    runs = [
        run
        for run in read_runs(places.records, on_damage=lambda damaged: None)
        if run.run.setting == setting and file.data_sha256 in (None, run.data_sha256)
    ]
    runs.sort(key=_most_trained, reverse=True)
    models = (_model_in(places.retrained / run.run_id) for run in runs)
    return next((model for model in models if model is not None), None)


def _most_trained(run: RecordedRun) -> tuple[int, str]:
    return run.run.training.max_epochs, run.run_id


def _model_in(folder: Path) -> Path | None:
    model = folder / MODEL_FOLDER
    there = all((model / name).is_file() for name in (NETWORK_FILE, WEIGHTS_FILE))
    return model if there else None
