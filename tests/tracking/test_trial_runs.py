"""The records of a study's trials, after kills."""

from dmu_search.records import Recorder, RunStart, read_events
from dmu_search.study.files import create_studies
from dmu_search.study.journal import Journal
from dmu_search.study.search_study import SearchStudy
from dmu_search.study.trials import Report
from dmu_search.tracking.trial_runs import TrialRuns, trial_run_id
from tests.studies import plan_studies


def test_what_a_kill_left_open_is_closed_before_trials_go_on(tmp_path):
    words = ["task=adding", "search.trials=3", "search.scheduler=none", "training.max_epochs=3"]
    (study,) = create_studies(plan_studies([*words, f"output_dir={tmp_path}"]))
    journal = Journal(study.journal)
    search = SearchStudy.of(study.settings, events=[], append=journal.append)
    recorder = Recorder(tmp_path / "records")
    recorder.start(RunStart(study.name, study.name, "study"))
    runs = TrialRuns(study, recorder)
    for number in (search.next().number for _ in range(3)):
        # The last one was asked for, and nobody has begun it.
        if number < 2:
            runs.begin(search.trials[number])
            search.report(number, Report(1, 0.5, {"val_mse": 0.5}, False, None))
    journal.close()

    again = Recorder(tmp_path / "records")
    again.start(RunStart(study.name, study.name, "study"))
    resumed = TrialRuns(study, again)
    for _ in range(2):
        resumed.catch_up(search.trials)
        names = [trial_run_id(study.name, number) for number in range(3)]
        assert [again.is_closed(name) for name in names] == [True, True, False]
        assert not again.has(names[2])
        for name in names[:2]:
            told = list(read_events(tmp_path / "records" / f"{name}.jsonl"))
            assert [each["event"] for each in told].count("end") == 1
            assert [each["step"] for each in told if each["event"] == "metrics"] == [1]
            assert told[-1]["status"] == "KILLED"
