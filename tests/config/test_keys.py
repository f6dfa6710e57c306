from pathlib import Path

import pytest

from dmu_search.config.keys import (
    CLIPPINGS,
    CORPORA,
    KEYS,
    NOISES,
    SYNONYMS,
    did_you_mean,
    key_meant,
    keys_of,
)
from dmu_search.data import corpus
from dmu_search.engine.tasks import generated, task_class
from dmu_search.engine.training import optimiser
from dmu_search.names import MODELS, TASKS


def test_choices_are_those_of_the_engine():
    assert generated.NOISES == NOISES
    assert tuple(corpus.CORPORA) == CORPORA
    assert optimiser.GRADIENT_CLIPPINGS == CLIPPINGS
    assert KEYS["data.length"].minimum == generated.SHORTEST


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("training.learning_rate", 1, 1.0),
        ("training.batch_size", 32.0, 32),
        ("training.weight_decay", 0, 0.0),
        ("network.widths", [122, 122], (122, 122)),
        ("network.widths", "matched", "matched"),
        ("resources.gpus_per_trial", "auto", "auto"),
        ("resources.gpus_per_trial", 0.25, 0.25),
        ("search.time_budget_s", None, None),
        ("resume", 2026, "2026"),
        ("data.pairs", "all", "all"),
        ("data.pairs", 30000.0, 30000),
        ("data.pairs_file", "por-eng.zip", f"{Path.cwd()}/por-eng.zip"),
        ("data.corpus", "nottingham-midi", "nottingham-midi"),
        ("data.corpus", "my tunes/", f"{Path.cwd()}/my tunes"),
        ("data.corpus", "~/tunes.zip", str(Path("~/tunes.zip").expanduser())),
        ("data.step", "1/16", "1/16"),
        # YAML reads a bare off as false.
        ("training.gradient_clipping", False, "off"),
    ],
)
def test_good_values_take_the_type_of_the_key(name, given, kept):
    value = KEYS[name].check(given)
    assert value == kept
    assert type(value) is type(kept)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("training.learning_rate", 0, "must be a number > 0, got 0"),
        ("training.learning_rate", float("nan"), "must be a number > 0, got nan"),
        ("training.learning_rate", True, "must be a number > 0, got True"),
        ("training.gamma", 1.5, "must be a number > 0 and <= 1, got 1.5"),
        ("training.batch_size", 0.5, "must be a whole number >= 1, got 0.5"),
        ("training.max_epochs", None, "must be a whole number >= 1, got null"),
        (
            "search.sampler",
            "tpee",
            r"one of auto, gp, tpe, qmc, random, got 'tpee' \(did you mean tpe\?\)",
        ),
        ("training.gradient_clipping", True, "must be one of off, norm, got True"),
        ("network.widths", [0], "must be auto, paper, matched or a list"),
        ("network.widths", "papr", r"did you mean paper\?"),
        ("data.corpus", "notingham", r"path of a folder or archive .* \(did you mean nottingham\?"),
        ("data.corpus", "", "one of nottingham, nottingham-midi, demo, auto, or the path"),
        ("data.step", "1/7", "one of 1/2, 1/4"),
    ],
)
def test_bad_values_name_the_rule_and_the_value(name, given, message):
    with pytest.raises(ValueError, match=message):
        KEYS[name].check(given)


def test_stop_rules_are_for_objectives_that_are_to_fall():
    falling = {name for name in TASKS if task_class(name).direction == "minimize"}
    for name in ("training.stop_below", "training.stop_patience"):
        assert set(KEYS[name].tasks) == falling


def test_did_you_mean_says_nothing_when_nothing_is_near():
    assert did_you_mean("xyzzy", MODELS) == ""


def test_a_key_without_tasks_and_models_exists_for_all():
    assert KEYS["training.seed"].exists_for("adding", "rnn")
    assert KEYS["network.z_bias"].exists_for("adding", "dmu")
    assert not KEYS["network.z_bias"].exists_for("adding", "rnn")
    assert not KEYS["data.limit"].exists_for("adding", "dmu")


def test_train_takes_no_search_keys():
    assert not any(name.startswith("search.") for name in keys_of("train"))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("training.lr", "did you mean training.learning_rate?"),
        ("LR", "did you mean training.learning_rate?"),
        ("batch-size", "did you mean training.batch_size?"),
        ("learning_rate", "did you mean training.learning_rate?"),
        ("hidden", "did you mean network.widths?"),
        ("seed", "did you mean training.seed or search.seed?"),
        ("training.optimizer", "every network is trained by Adam"),
        ("search.trails", "did you mean search.trials?"),
    ],
)
def test_a_key_is_found_by_what_others_call_it(name, meant):
    assert key_meant(name, keys_of("tune")) == f" ({meant})"


def test_synonyms_stand_for_keys_and_are_none():
    # A cell of a table for report and reproduce, and for all others the network.
    assert set(SYNONYMS) & set(KEYS) == {"cell"}
    assert key_meant("cell", keys_of("tune")) == " (did you mean model?)"
    assert all(meant in KEYS or " " in meant for meant in SYNONYMS.values())


def test_no_command_is_offered_a_key_that_it_lacks():
    assert "learning_rate" not in key_meant("lr", keys_of("report"))
