import pytest

from dmu_search.config.distributions import Choice, Interval
from dmu_search.config.grammar import Alternatives, parse_overrides, parse_setting
from dmu_search.config.keys import KEYS
from dmu_search.errors import ConfigError


def parse(word: str):
    (setting,) = parse_overrides("tune", [word]).values()
    return setting


@pytest.mark.parametrize(
    ("word", "setting"),
    [
        ("training.learning_rate=1e-4", 1e-4),
        ("training.learning_rate=interval(0.1,1)", Interval(0.1, 1.0)),
        (
            "training.learning_rate=tag(log,interval(1e-4,1e-1))",
            Interval(1e-4, 1e-1, log=True),
        ),
        ("training.batch_size=interval(8,64)", Interval(8, 64, integer=True)),
        ("training.batch_size=range(16,64,16)", Interval(16, 64, integer=True, step=16)),
        ("network.z_bias=range(0,4,0.5)", Interval(0.0, 4.0, step=0.5)),
        ("training.batch_size=choice(16,32)", Choice((16, 32))),
        ("training.block_learning_rate_rule=choice(paper,ratio)", Choice(("paper", "ratio"))),
        ("training.gradient_clipping=off", "off"),
        ("training.gradient_clipping=choice(off,norm)", Choice(("off", "norm"))),
        ("model=dmu,rhn", Alternatives(("dmu", "rhn"))),
        ("depth=1,2", Alternatives((1, 2))),
        ("network.widths=[10,20]", (10, 20)),
        ("tracking.uri=sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("tracking.uri=http://localhost:5000", "http://localhost:5000"),
        ("output_dir=a folder/with=signs (1)", "a folder/with=signs (1)"),
    ],
)
def test_words_are_read(word, setting):
    assert parse(word) == setting


@pytest.mark.parametrize(
    "text",
    [
        "interval(0.1,1.0)",
        "tag(log,interval(0.0001,0.1))",
        "int(interval(8,64))",
        "tag(log,int(interval(8,64)))",
        "range(16,64,16)",
        "choice(16,32)",
    ],
)
def test_distributions_travel_as_text(text):
    integer = "int(" in text or "6" in text.replace("64", "6")
    key = KEYS["training.batch_size" if integer else "training.learning_rate"]
    distribution = parse_setting(key, text)
    assert parse_setting(key, str(distribution)) == distribution


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("+x=1", r"\+x=1: keys can be neither added nor removed; write x=VALUE"),
        ("~x", "neither added nor removed"),
        ("training", "training: not understood; settings are written KEY=VALUE"),
        ("trainng.gamma=1", r"tune has no such key \(did you mean training.gamma\?\)"),
        ("training.gamma=0.9,1.0", r"write choice\(0.9,1.0\) to search over these values"),
        ("training.max_epochs=choice(1,2)", r"takes no distribution, got choice\(1,2\)"),
        ("model=choice(dmu,rhn)", "a comma list makes a study of each"),
        ("model=dmu,dmu", "a value is listed twice in dmu,dmu"),
        ("training.gamma=interval(1,0.9)", r"bounds are reversed: 1.0 > 0.9"),
        (
            "training.learning_rate=tag(log,interval(0,1))",
            "lower bound of a log scale must be > 0, got 0.0; use a small positive bound",
        ),
        ("training.gamma=interval(0.9,2)", "must be a number > 0 and <= 1, got 2.0"),
        ("training.batch_size=interval(1.5,8)", "must be a whole number >= 1, got 1.5"),
        ("training.gamma=tag(linear,interval(0.5,1))", "the only tag is log, got linear"),
        ("training.batch_size=range(16,60,16)", "end at the upper bound, which is included"),
        ("training.batch_size=tag(log,range(1,8))", "has no log scale"),
        ("training.block_learning_rate_rule=interval(0,1)", r"no interval; use choice\(..\)"),
        ("training.gamma=tag(log,interval(0.5,1)", "is not understood"),
        ("training.gamma=glob(*)", r"glob\(..\) has no meaning here"),
    ],
)
def test_faulty_words_name_the_way_out(word, message):
    with pytest.raises(ConfigError, match=message):
        parse_overrides("tune", [word])


def test_all_faults_are_reported_together():
    with pytest.raises(ConfigError) as caught:
        parse_overrides("tune", ["a=1", "training.gamma=2", "+b=1"])
    assert len(caught.value.faults) == 3


def test_a_key_given_twice_is_a_fault():
    with pytest.raises(ConfigError, match=r"training.gamma: given twice"):
        parse_overrides("tune", ["training.gamma=1", "training.gamma=0.9"])
