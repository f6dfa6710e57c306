import pytest

from dmu_search.errors import ConfigError, StorageError
from dmu_search.names import TASKS
from dmu_search.study.files import create_studies, find_studies, named_studies
from tests.studies import plan_studies
from tests.tables import ON_FILES


def create(tmp_path, *words):
    return create_studies(plan_studies([*words, f"output_dir={tmp_path}"]))


def test_a_study_comes_back_as_it_was_started(tmp_path):
    (study,) = create(
        tmp_path,
        "depth=2",
        "training.learning_rate=tag(log,interval(1e-3,1e-2))",
        "training.batch_size=range(16,64,16)",
        "search.trials=7",
        "resources.gpus_per_trial=0.25",
        "data.limit=3",
    )
    (found,) = find_studies(tmp_path, "latest", given={})
    assert (found.name, found.group) == (study.name, study.group)
    for part in ("task", "model", "depth", "fixed", "space", "warm_starts", "search", "resources"):
        assert getattr(found.settings, part) == getattr(study.settings, part), part


@pytest.mark.slow
def test_studies_of_all_tasks_come_back_as_they_were_started(tmp_path):
    studies = create(tmp_path, f"task={','.join(TASKS)}", "model=dmu,rhn", "data.noise=fixed")
    # A folder of data concerns the tasks that have files only.
    found = find_studies(tmp_path, "latest", given={"data.mirror": "elsewhere"})
    assert len(found) == len(studies) == len(TASKS) * 2
    own = {study.name: study.settings for study in studies}
    for study in found:
        assert study.settings.data.length == own[study.name].data.length
        for part in ("space", "warm_starts", "search"):
            assert getattr(study.settings, part) == getattr(own[study.name], part), part
        assert ("data.mirror" in study.settings.fixed) == (study.settings.task in ON_FILES)


def test_latest_is_every_study_of_the_last_command(tmp_path):
    create(tmp_path, "model=gru")
    last = create(tmp_path, "model=dmu,rhn")
    names = {study.name for study in find_studies(tmp_path, "latest", given={})}
    assert names == {study.name for study in last}
    (one,) = find_studies(tmp_path, last[0].name, given={})
    assert one.name == last[0].name


def test_names_are_unique_within_a_second(tmp_path):
    names = [create(tmp_path)[0].name for _ in range(3)]
    assert len(set(names)) == 3


def test_more_trials_may_be_asked_for(tmp_path):
    create(tmp_path, "search.trials=2")
    (found,) = find_studies(tmp_path, "latest", given={"search.trials": 5})
    assert found.settings.search.trials == 5


def test_what_a_resume_refuses(tmp_path):
    with pytest.raises(ConfigError, match="no studies; start one with"):
        find_studies(tmp_path, "latest", given={})
    (study,) = create(tmp_path)
    with pytest.raises(ConfigError, match=r"resume=polymusc: no such study"):
        find_studies(tmp_path, "polymusc", given={})
    with pytest.raises(ConfigError, match=r"training.gamma: a study is resumed as it was"):
        find_studies(tmp_path, "latest", given={"training.gamma": 1.0})
    (study.folder / "study.yaml").write_text("name: x\n")
    with pytest.raises(ConfigError, match="not the settings of a study"):
        find_studies(tmp_path, "latest", given={})


def test_an_output_folder_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        create(tmp_path / "file")


def test_settings_that_were_deleted_are_read_from_the_journal(tmp_path):
    (study,) = create(tmp_path, "depth=2", "search.trials=7")
    (study.folder / "study.yaml").unlink()
    (found,) = find_studies(tmp_path, "latest", given={})
    assert (found.name, found.settings.fixed) == (study.name, study.settings.fixed)
    assert (found.settings.space, found.settings.search) == (
        study.settings.space,
        study.settings.search,
    )
    (study.folder / "study.yaml").write_text("{")
    assert find_studies(tmp_path, study.name, given={}) == (found,)


def test_a_study_without_a_journal_says_what_to_do(tmp_path):
    (study,) = create(tmp_path)
    study.journal.unlink()
    with pytest.raises(StorageError, match="begun by an earlier version, or the file is lost"):
        study.events()


def test_a_name_begins_a_study_once(tmp_path):
    settings = plan_studies(["search.trials=3", f"output_dir={tmp_path}"])
    assert named_studies(tmp_path, "mine", settings=settings) is None
    (study,) = create_studies(settings, "mine")
    assert (study.name, study.folder.name) == ("mine", "mine")
    (found,) = named_studies(tmp_path, "mine", settings=settings)
    assert (found.name, found.settings) == ("mine", settings[0])
    more = plan_studies(["search.trials=9", f"output_dir={tmp_path}"])
    assert named_studies(tmp_path, "mine", settings=more)[0].settings.search.trials == 9
    with pytest.raises(ConfigError, match=r"name=mine: .* is there already; choose another name"):
        create_studies(settings, "mine")
    other = plan_studies(["search.seed=3", "training.gamma=1.0", f"output_dir={tmp_path}"])
    with pytest.raises(ConfigError) as caught:
        named_studies(tmp_path, "mine", settings=other)
    assert "began with search.seed=0, now 3" in str(caught.value)
    assert "training.gamma" in str(caught.value)


def test_several_studies_share_a_name(tmp_path):
    settings = plan_studies(["model=dmu,gru", f"output_dir={tmp_path}"])
    studies = create_studies(settings, "mine")
    assert [s.name for s in studies] == ["mine-polymusic-dmu-d1", "mine-polymusic-gru-d1"]
    assert {study.group for study in studies} == {"mine"}
    assert [s.name for s in named_studies(tmp_path, "mine", settings=settings)] == [
        s.name for s in studies
    ]


def test_the_journal_begins_with_the_settings(tmp_path):
    (study,) = create(tmp_path)
    (first,) = study.events()
    assert first["study"]["name"] == study.name
    assert first["study"]["settings"]["search"]["trials"] == study.settings.search.trials
