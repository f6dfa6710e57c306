"""What becomes of trainings on workers when these are lost."""

import pytest

from dmu_search.config.settings import TrackingSettings
from dmu_search.errors import ClusterError
from dmu_search.on_ray.resources import TrialShare
from dmu_search.records import Recorder, read_events
from dmu_search.retraining import on_workers
from dmu_search.retraining.run import plan_run
from dmu_search.tracking import open_tracking
from tests.studies import plan_studies

GOES_ON, IS_DONE, NOT_BEGUN = "goes-on", "is-done", "not-begun"


@pytest.fixture
def trainings():
    (study,) = plan_studies(["task=adding", "data.length=12", "model=rnn"])
    run = study.example()

    class Data:
        name, sha256, sequences = "adding", "0" * 64, {}

    return [
        (plan_run(name, run, data=Data(), tags={}), run) for name in (GOES_ON, IS_DONE, NOT_BEGUN)
    ]


def test_runs_that_began_after_the_last_look_are_closed_as_well(tmp_path, monkeypatch, trainings):
    """Ray is lost between two looks; by then one worker has begun a run and another ended one."""
    tracking = open_tracking(TrackingSettings("none", "dmu_search"), tmp_path)
    begun = {plan.name: plan.start for plan, _ in trainings}

    def lost(*_, **__):
        yield ()
        worker = Recorder(tracking.recorder.folder)
        for name in (GOES_ON, IS_DONE):
            worker.start(begun[name])
        worker.end(IS_DONE, "FINISHED")
        raise ClusterError("Ray no longer answers")

    monkeypatch.setattr(on_workers, "on_workers", lost)
    monkeypatch.setattr(on_workers, "shared", lambda value: value)
    followed = on_workers.train_on_workers(
        trainings,
        {("adding", run.data): None for _, run in trainings},
        share=TrialShare(cpus=1.0, gpus=0.0, concurrent=2),
        tracking=tracking,
        folders=tmp_path / "retrained",
        stopped=lambda: False,
    )
    with pytest.raises(ClusterError):
        list(followed)
    ends = {
        path.stem: [event["status"] for event in read_events(path) if event["event"] == "end"]
        for path in tracking.recorder.folder.iterdir()
    }
    assert ends == {GOES_ON: ["KILLED"], IS_DONE: ["FINISHED"]}
