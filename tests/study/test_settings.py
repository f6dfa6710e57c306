import pytest

from dmu_search.config.distributions import Choice, Interval
from dmu_search.config.keys import KEYS
from dmu_search.engine.settings import NetworkSettings
from dmu_search.engine.training.optimiser import parameter_groups
from dmu_search.errors import ConfigError
from dmu_search.names import MODELS, TASKS
from dmu_search.paper.published import published
from dmu_search.paper.widths import paper_network, resolve_widths, weight_count
from tests.studies import plan_studies
from tests.tables import GENERATED, IN_PAPER, TRANSLATION

ALL = [f"task={','.join(TASKS)}", f"model={','.join(MODELS)}"]


def plan_one(*words):
    (study,) = plan_studies(words)
    return study


def test_the_space_of_polymusic_is_the_documented_one():
    space = plan_one().space
    assert set(space) == {
        "training.learning_rate",
        "training.weight_decay",
        "training.gamma",
        "training.batch_size",
        "training.gradient_clipping",
        "training.gradient_clip_norm",
        "training.block_learning_rate_rule",
        "training.block_learning_rate_ratio",
        "network.z_bias",
    }
    assert plan_one("model=rhn").space.keys() == {
        "training.learning_rate",
        "training.weight_decay",
        "training.gamma",
        "training.batch_size",
        "training.gradient_clipping",
        "training.gradient_clip_norm",
    }


@pytest.mark.parametrize("task", GENERATED)
def test_the_space_of_the_synthetic_tasks_is_the_documented_one(task):
    common = {
        "training.learning_rate",
        "training.gamma",
        "training.gradient_clipping",
        "training.gradient_clip_norm",
    }
    block = {"training.block_learning_rate_rule", "training.block_learning_rate_ratio"}
    dmu, rhn = plan_studies([f"task={task}", "model=dmu,rhn"])
    assert dmu.space.keys() == common | block | {"network.z_bias"}
    assert rhn.space.keys() == common
    run = rhn.example()
    assert (run.training.stop_below, run.training.stop_patience) == (1e-6, 5)
    assert (run.training.max_epochs, run.training.batch_size) == (100, 32)
    assert (run.data.length, run.data.batches_per_epoch) == (100, 200)


def test_a_value_on_the_command_line_fixes_a_hyperparameter():
    study = plan_one("training.learning_rate=0.01")
    assert "training.learning_rate" not in study.space
    assert study.example().training.learning_rate == 0.01
    assert all("training.learning_rate" not in p.values for p in study.warm_starts)


def test_a_distribution_on_the_command_line_replaces_the_yaml():
    study = plan_one("training.batch_size=choice(8,32)", "training.max_epochs=7")
    assert study.space["training.batch_size"] == Choice((8, 32))
    assert study.max_epochs == 7


def test_a_fixed_hyperparameter_can_be_searched():
    study = plan_one("training.scale_block_weight_decay=choice(true,false)")
    assert study.space["training.scale_block_weight_decay"] == Choice((True, False))


def test_a_ratio_is_not_searched_where_the_rule_makes_it_idle():
    study = plan_one(
        "training.block_learning_rate_rule=paper",
        "training.block_learning_rate_ratio=interval(0.1,1)",
    )
    assert "training.block_learning_rate_ratio" not in study.space
    assert any("is not searched" in note for note in study.notes)


def test_a_clip_norm_is_searched_only_where_gradients_can_be_clipped():
    norm = "training.gradient_clip_norm=tag(log,interval(0.1,10))"
    study = plan_one("training.gradient_clipping=choice(off,norm)", norm)
    assert {"training.gradient_clipping", "training.gradient_clip_norm"} <= study.space.keys()
    # The release clips nothing; where the search may clip, its setting is tried as it is.
    assert {p.values["training.gradient_clipping"] for p in study.warm_starts} == {"off"}
    always = plan_one("training.gradient_clipping=norm", norm)
    assert "training.gradient_clip_norm" in always.space
    idle = plan_one("training.gradient_clipping=off", norm)
    assert "training.gradient_clip_norm" not in idle.space
    assert any("only with training.gradient_clipping=norm" in note for note in idle.notes)


def test_comma_lists_make_a_study_of_each():
    titles = [study.title for study in plan_studies(["model=dmu,rhn", "depth=1,2"])]
    assert titles == [
        "polymusic-dmu-d1",
        "polymusic-dmu-d2",
        "polymusic-rhn-d1",
        "polymusic-rhn-d2",
    ]


def test_keys_of_one_model_may_stand_beside_another():
    dmu, rhn = plan_studies(["model=dmu,rhn", "network.z_bias=1"])
    assert dmu.example().network.z_bias == 1
    assert "network.z_bias" not in rhn.fixed


def test_keys_that_no_model_has_are_faults():
    with pytest.raises(ConfigError, match=r"network.z_bias: only dmu has it, got model=rhn"):
        plan_studies(["model=rhn", "network.z_bias=1"])


@pytest.mark.parametrize(("depth", "rate"), [(1, 0.005), (2, 0.005), (5, 0.005), (10, 0.002)])
def test_warm_starts_are_the_published_settings(depth, rate):
    paper, released = plan_one(f"depth={depth}").warm_starts
    assert (paper.source, released.source) == ("paper", "released")
    assert paper.values["training.learning_rate"] == rate
    assert released.values["training.learning_rate"] == 0.005
    assert paper.values["network.z_bias"] == 3
    assert released.values["network.z_bias"] == 0
    assert paper.values["training.block_learning_rate_rule"] == "paper"


# Table 7 and the release: learning rate, gamma, and the release's learning rate of the block.
NATLANG_DMU = {
    1: ((0.02, 0.8), (0.02, 0.9, 0.01)),
    2: ((0.002, 1.0), (0.02, 0.9, 0.005)),
    5: ((0.002, 1.0), (0.01, 0.98, 0.001)),
    10: ((0.002, 1.0), (0.02, 0.98, 0.001)),
}


@pytest.mark.parametrize("depth", NATLANG_DMU)
def test_published_settings_of_natlang(depth):
    paper, released = plan_one("task=natlang", f"depth={depth}").warm_starts
    found = [
        (point.values["training.learning_rate"], point.values["training.gamma"])
        for point in (paper, released)
    ]
    papers, (rate, gamma, block) = NATLANG_DMU[depth]
    assert found == [papers, (rate, gamma)]
    run = plan_one("task=natlang", f"depth={depth}").run(released.values)
    network = paper_network("natlang")(run.network)
    *groups, rest = parameter_groups(network, run.training)
    assert [group.learning_rate for group in groups] == pytest.approx([block] * depth)
    assert (rest.learning_rate, rest.weight_decay) == (rate, 1e-4)
    (point,) = plan_one("task=natlang", "model=rhn", f"depth={depth}").warm_starts
    assert point.source == "paper, released"


# Table 7 (learning rate, gamma), and what the release adds: the learning rate of the block.
TRANSLATION_DMU = {
    1: (0.005, 0.9, 0.0025),
    2: (0.01, 0.9, 0.0025),
    5: (0.003, 1.0, 0.0003),
    10: (0.003, 1.0, 0.00015),
}


@pytest.mark.parametrize("depth", TRANSLATION_DMU)
def test_published_settings_of_translation(depth):
    rate, gamma, block = TRANSLATION_DMU[depth]
    for task in TRANSLATION:
        study = plan_one(f"task={task}", f"depth={depth}")
        paper, released = study.warm_starts
        for point, forcing, bias in ((paper, 1.0, 3.0), (released, 0.0, 0.0)):
            run = study.run(point.values)
            assert (run.training.learning_rate, run.training.gamma) == (rate, gamma)
            assert run.training.teacher_forcing_ratio == forcing
            assert (run.network.z_bias, run.training.weight_decay) == (bias, 1e-4)
        *groups, rest = parameter_groups(paper_network(task)(run.network), run.training)
        assert [group.learning_rate for group in groups] == pytest.approx([block] * depth)
        assert (rest.learning_rate, rest.weight_decay) == (rate, 1e-4)
        rhn = plan_one(f"task={task}", "model=rhn", f"depth={depth}")
        assert [p.values["training.learning_rate"] for p in rhn.warm_starts] == [0.01, 0.01]
        assert rhn.example().network.widths == (200,) * depth


def test_languages_share_all_but_their_results():
    first, *others = (published(task) for task in TRANSLATION)
    assert {record.data for record in (first, *others)} == {"spa-eng", "por-eng", "deu-eng"}
    for other in others:
        assert (other.widths, other.settings, other.table) == (first.widths, first.settings, 5)
        assert other.results != first.results
        assert other.results.keys() == {"dmu", "rhn"}
        assert all(set(depths) == {1, 2, 5, 10} for depths in other.results.values())


# Millions of weights as Table 2 prints them, those of the RHN, by depth.
TABLE_2_TRANSLATION = {
    "spa2eng": {1: 27.8, 2: 28.0, 5: 28.4, 10: 29.2},
    "ger2eng": {1: 36.6, 2: 36.8, 5: 37.3, 10: 38.1},
    "por2eng": {1: 24.5, 2: 24.7, 5: 25.2, 10: 26.0},
}


@pytest.mark.parametrize("task", TRANSLATION)
def test_weight_counts_of_translation_in_table_2(task):
    for depth, printed in TABLE_2_TRANSLATION[task].items():
        widths = published(task).widths["paper"]
        assert round(weight_count(task, "rhn", widths=widths["rhn"][depth]) / 1e6, 1) == printed
        # The DMUs match the RHNs, but not always in the last digit.
        own = weight_count(task, "dmu", widths=widths["dmu"][depth]) / 1e6
        assert abs(own - printed) < 0.15
        assert widths["dmu"][depth][-1] == 200


def test_equal_published_settings_are_tried_once():
    (point,) = plan_one("model=rhn").warm_starts
    assert point.source == "paper, released"


TABLE_6 = {
    "adding": {"rnn": 0.01, "lstm": 0.001, "gru": 0.05, "dmu": 0.02},
    "tempord": {"rnn": 0.01, "lstm": 0.005, "gru": 0.02, "dmu": 0.05},
    "noiseseq": {"rnn": 0.01, "lstm": 0.002, "gru": 0.1, "dmu": 0.02},
}
RELEASED_RHN = {"adding": (4, 3, 0.02), "tempord": (4, 3, 0.02), "noiseseq": (3, 3, 0.05)}


@pytest.mark.parametrize("task", GENERATED)
def test_published_settings_of_the_synthetic_tasks(task):
    for model, rate in TABLE_6[task].items():
        study = plan_one(f"task={task}", f"model={model}")
        assert study.depth == 2
        first = study.warm_starts[0]
        assert first.source.startswith("paper")
        assert first.values["training.learning_rate"] == rate
        assert first.values.get("network.z_bias") == (3.0 if model == "dmu" else None)
    width, depth, rate = RELEASED_RHN[task]
    study = plan_one(f"task={task}", "model=rhn")
    assert study.depth == depth
    assert study.example().network.widths == (width,) * depth
    (point,) = study.warm_starts
    assert (point.source, point.values["training.learning_rate"]) == ("released", rate)
    assert "widths from the release" in study.notes[0]


TABLE_1 = {
    "adding": {"rnn": 111, "lstm": 99, "gru": 108, "dmu": 106},
    "tempord": {"rnn": 236, "lstm": 212, "gru": 208, "dmu": 203},
    "noiseseq": {"rnn": 595, "lstm": 880, "gru": 687, "dmu": 573},
}


@pytest.mark.parametrize("model", ["rnn", "lstm", "gru", "dmu"])
@pytest.mark.parametrize("task", GENERATED)
def test_weight_counts_of_table_1(task, model):
    (study,) = plan_studies([f"task={task}", f"model={model}", "network.widths=paper"])
    network = paper_network(task)(study.example().network)
    own = network.recurrent_weight_count if task == "noiseseq" else network.weight_count
    assert own == TABLE_1[task][model]


@pytest.mark.parametrize("task", IN_PAPER)
def test_the_published_record_has_runs_epochs_and_widths_that_fit(task):
    record = published(task)
    expected = {"polymusic": (5, 500), "natlang": (5, 40)} | dict.fromkeys(TRANSLATION, (5, 50))
    expected = expected.get(task, (51, 100))
    assert (record.runs, record.epochs) == expected
    assert (record.data is None) == (not record.results)
    for widths in record.widths.values():
        for model, depths in widths.items():
            for depth, own in depths.items():
                assert len(own) == depth
                assert paper_network(task)(NetworkSettings(model, own))


@pytest.mark.slow
def test_warm_starts_lie_in_the_space_of_every_study():
    for study in (*plan_studies(ALL), *plan_studies(["model=dmu,rhn", "depth=1,2,5,10"])):
        for point in study.warm_starts:
            assert all(value in study.space[name] for name, value in point.values.items())


def test_a_published_setting_outside_the_space_is_named():
    study = plan_one("training.learning_rate=interval(0.01,0.02)")
    assert study.warm_starts == ()
    assert "training.learning_rate=0.005 is outside interval(0.01,0.02)" in study.notes[1]


def test_models_without_published_settings_say_so():
    study = plan_one("model=lstm")
    assert study.warm_starts == ()
    assert any("nothing is tried first" in note for note in study.notes)


@pytest.mark.parametrize(
    ("model", "depth", "widths"),
    [("dmu", 1, (100,)), ("dmu", 2, (122,) * 2), ("dmu", 5, (131,) * 5), ("dmu", 10, (136,) * 10)],
)
def test_matched_widths_are_the_papers(model, depth, widths):
    assert resolve_widths("polymusic", model, depth=depth, rule="matched")[0] == widths
    assert resolve_widths("polymusic", model, depth=depth, rule="paper")[0] == widths


@pytest.mark.parametrize("task", ["polymusic", "natlang"])
@pytest.mark.parametrize("model", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("depth", [1, 2])
def test_models_that_the_paper_lacks_are_matched(task, model, depth):
    widths, note = resolve_widths(task, model, depth=depth, rule="auto")
    target = weight_count(task, "rhn", widths=(100,) * depth)
    own = weight_count(task, model, widths=widths)
    for neighbour in (widths[0] - 1, widths[0] + 1):
        other = weight_count(task, model, widths=(neighbour,) * depth)
        assert abs(own - target) <= abs(other - target)
    assert f"{own} weights beside its {target}" in note


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("task", GENERATED)
def test_synthetic_networks_are_matched_to_the_papers_dmu(task, model):
    target = weight_count(task, "dmu", widths=published(task).widths["paper"]["dmu"][2])
    widths, note = resolve_widths(task, model, depth=3, rule="matched")
    assert f"matched to the paper's DMU: {weight_count(task, model, widths=widths)}" in note
    assert f"beside its {target}" in note


def test_keys_of_one_task_may_stand_beside_another():
    words = ["task=adding,noiseseq,polymusic", "data.noise=fixed", "data.length=50"]
    adding, noiseseq, polymusic = plan_studies([*words, "data.limit=3"])
    assert {k for k in adding.fixed if k.startswith("data.")} == {
        "data.length",
        "data.batches_per_epoch",
    }
    assert (noiseseq.data.noise, noiseseq.data.length) == ("fixed", 50)
    assert polymusic.data.limit == 3
    assert "data.length" not in polymusic.fixed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["task=adding", "data.corpus=demo"],
            "data.corpus: only polymusic has it, got task=adding",
        ),
        (
            ["task=adding,polymusic", "data.noise=fixed"],
            "data.noise: only noiseseq has it, got task=adding,polymusic",
        ),
        (
            ["task=polymusic", "data.length=50"],
            f"data.length: only {', '.join(GENERATED)} have it, got task=polymusic",
        ),
        (["task=adding", "data.lenght=50"], r"did you mean data\.length\?"),
        (["task=adding", "data.length=5"], "data.length: must be a whole number >= 12, got 5"),
        (["task=adding", "training.stop_below=0"], "stop_below: must be a number > 0, got 0"),
        (
            ["task=spa2eng", "training.stop_below=0.5"],
            f"stop_below: only {', '.join(KEYS['training.stop_below'].tasks)} have it",
        ),
        (["task=spa2eng", "data.pairs=6"], "pairs: must be all or a whole number >= 7, got 6"),
        (["task=spa2eng", "data.pairs=al"], "pairs: must be all or a whole number >= 7, got 'al'"),
        (
            ["task=spa2eng", "training.teacher_forcing_ratio=1.5"],
            "teacher_forcing_ratio: must be a number >= 0 and <= 1, got 1.5",
        ),
        (
            ["task=polymusic", "training.teacher_forcing_ratio=1"],
            f"teacher_forcing_ratio: only {', '.join(TRANSLATION)} have it, got task=polymusic",
        ),
        (
            ["task=adding", "model=rhn", "depth=3", "network.widths=paper"],
            "no rhn of depth 3 on adding; use network.widths=auto for that of the release, ",
        ),
        (["depth=3", "network.widths=paper"], "the paper has no dmu of depth 3 on polymusic"),
        (["network.widths=[10,20]"], r"one width per layer, 1 at depth=1, got \[10, 20\]"),
        (["model=rhn", "depth=2", "network.widths=[10,20]"], "share one state, so one width"),
        (
            ["search.grace_epochs=9", "training.max_epochs=4"],
            "search.grace_epochs: must be <= training.max_epochs=4, got 9",
        ),
    ],
)
def test_settings_that_do_not_fit_together(words, message):
    with pytest.raises(ConfigError, match=message):
        plan_studies(words)


def test_both_bounds_of_the_yaml_intervals_are_inclusive():
    for distribution in plan_one().space.values():
        if isinstance(distribution, Interval):
            assert distribution.low in distribution
            assert distribution.high in distribution


def test_the_heaviest_trial_has_the_largest_batches():
    assert plan_one().heaviest().training.batch_size == 32
    assert plan_one("training.batch_size=interval(8,24)").heaviest().training.batch_size == 24
    assert plan_one("training.batch_size=32").heaviest().training.batch_size == 32
