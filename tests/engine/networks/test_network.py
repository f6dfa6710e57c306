"""Weight counts of the paper, initial weights, and refused settings."""

import math

import pytest
import torch

from dmu_search.engine.networks.network import Weights, build_network
from dmu_search.engine.settings import NetworkSettings
from dmu_search.engine.tasks.polymusic import PolyMusic
from dmu_search.errors import ConfigError
from dmu_search.names import MODELS
from dmu_search.paper.widths import matched_width

TABLE_1_WIDTHS = {
    "noiseseq": {"rnn": (5, 5), "lstm": (2, 2), "gru": (2, 3), "dmu": (5, 4)},
    "adding": {"rnn": (5, 5), "lstm": (2, 2), "gru": (3, 2), "dmu": (5, 5)},
    "tempord": {"rnn": (6, 6), "lstm": (2, 3), "gru": (2, 4), "dmu": (5, 6)},
}
TABLE_1_COUNTS = {
    "noiseseq": {"rnn": 595, "lstm": 880, "gru": 687, "dmu": 573},
    "adding": {"rnn": 111, "lstm": 99, "gru": 108, "dmu": 106},
    "tempord": {"rnn": 236, "lstm": 212, "gru": 208, "dmu": 203},
}
# Input width and readout. The paper counts NoiseSeq without its readout.
TABLE_1_TASKS = {"noiseseq": (100, ()), "adding": (2, (1,)), "tempord": (8, (8,))}


@pytest.mark.parametrize("model", ["rnn", "lstm", "gru", "dmu"])
@pytest.mark.parametrize("task", TABLE_1_TASKS)
def test_weight_counts_of_table_1(task: str, model: str) -> None:
    input_size, readout = TABLE_1_TASKS[task]
    settings = NetworkSettings(model, TABLE_1_WIDTHS[task][model])
    network = build_network(settings, input_size=input_size, readout=readout)
    assert network.weight_count == TABLE_1_COUNTS[task][model]


@pytest.mark.parametrize(
    ("model", "width", "depth", "count"),
    [
        ("dmu", 100, 1, 46_688),
        ("dmu", 122, 2, 66_578),
        ("dmu", 131, 5, 126_896),
        ("dmu", 136, 10, 228_976),
        ("rhn", 100, 1, 46_688),
        ("rhn", 100, 2, 66_888),
        ("rhn", 100, 5, 127_488),
        ("rhn", 100, 10, 228_488),
    ],
)
def test_weight_counts_of_table_2(model: str, width: int, depth: int, count: int) -> None:
    assert PolyMusic.network(NetworkSettings(model, (width,) * depth)).weight_count == count


@pytest.mark.parametrize(("depth", "width"), [(1, 100), (2, 122), (5, 131), (10, 136)])
def test_matched_widths_of_table_2(depth: int, width: int) -> None:
    target = PolyMusic.network(NetworkSettings("rhn", (100,) * depth)).weight_count
    found = matched_width(PolyMusic.network, model="dmu", depth=depth, target=target)
    assert found == width


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("target", [1, 2_000, 46_688, 50_001])
def test_no_other_width_comes_closer(model: str, depth: int, target: int) -> None:
    found = matched_width(PolyMusic.network, model=model, depth=depth, target=target)

    def distance(width: int) -> int:
        network = PolyMusic.network(NetworkSettings(model, (width,) * depth))
        return abs(network.weight_count - target)

    assert found == min(range(1, 600), key=distance)


def initial(settings: NetworkSettings) -> Weights:
    """200 replicas, so that the largest draw comes close to its bound."""
    network = build_network(settings, input_size=6, readout=(3,))
    return network.initialise([torch.Generator().manual_seed(i) for i in range(200)])


def assert_uniform(weight: torch.Tensor, bound: float) -> None:
    """Of 800 draws or more, the largest is within 2% of the bound but for one case in 10^7."""
    assert 0.98 * bound < weight.abs().max().item() <= bound * (1 + 1e-5)


def test_dmu_initialisation() -> None:
    weights = initial(NetworkSettings("dmu", (5, 7, 4), z_bias=3.0))
    gain = math.sqrt(2 / (1 + 0.01**2))
    first = gain * math.sqrt(6 / (6 + 4 + 5))  # fans of the layer over [x, h]
    assert_uniform(weights["cell_1.dense_1.input"], first)
    assert_uniform(weights["cell_1.dense_1.state"], first)
    assert_uniform(weights["cell_1.dense_2.weight"], gain * math.sqrt(6 / (5 + 7)))
    assert_uniform(weights["cell_1.dense_3.weight"], math.sqrt(6 / (7 + 2 * 4)))
    assert weights["cell_1.dense_1.bias"].abs().max() == 0
    assert weights["cell_1.dense_2.bias"].abs().max() == 0
    assert (weights["cell_1.dense_3.bias"][..., :4] == 3).all()
    assert (weights["cell_1.dense_3.bias"][..., 4:] == 0).all()


def test_dmu_without_hidden_layer_is_linear_so_its_gain_is_1() -> None:
    weights = initial(NetworkSettings("dmu", (4,)))
    assert_uniform(weights["cell_1.dense_1.state"], math.sqrt(6 / (6 + 4 + 8)))


def test_rhn_initialisation() -> None:
    weights = initial(NetworkSettings("rhn", (4, 4)))
    assert_uniform(weights["cell_1.input"], 1 / math.sqrt(6))
    for layer in ("highway_1", "highway_2"):
        assert_uniform(weights[f"cell_1.{layer}.weight"], 1 / math.sqrt(4))
        assert_uniform(weights[f"cell_1.{layer}.bias"], 1 / math.sqrt(4))


def test_dmu_can_start_like_linear_layers() -> None:
    weights = initial(NetworkSettings("dmu", (5, 4), z_bias=3.0, initialisation="pytorch"))
    first, second = 1 / math.sqrt(6 + 4), 1 / math.sqrt(5)
    for name in ("dense_1.input", "dense_1.state", "dense_1.bias"):
        assert_uniform(weights[f"cell_1.{name}"], first)
    assert_uniform(weights["cell_1.dense_2.weight"], second)
    assert_uniform(weights["cell_1.dense_2.bias"][..., :4] - 3, second)
    assert_uniform(weights["cell_1.dense_2.bias"][..., 4:], second)


def test_rhn_can_start_by_xaviers_rule() -> None:
    weights = initial(NetworkSettings("rhn", (4, 4), initialisation="xavier"))
    assert_uniform(weights["cell_1.input"], math.sqrt(6 / (6 + 4)))
    for layer in ("highway_1", "highway_2"):
        assert_uniform(weights[f"cell_1.{layer}.weight"], math.sqrt(6 / (4 + 4)))
        assert weights[f"cell_1.{layer}.bias"].abs().max() == 0


@pytest.mark.parametrize("model", ["lstm", "gru", "rnn"])
def test_gated_initialisation_depends_on_the_units_alone(model: str) -> None:
    weights = initial(NetworkSettings(model, (9, 4)))
    for cell, width in (("cell_1", 9), ("cell_2", 4)):
        assert_uniform(weights[f"{cell}.input.weight"], 1 / math.sqrt(width))
        assert_uniform(weights[f"{cell}.state.weight"], 1 / math.sqrt(width))


def test_lstm_forget_gates_start_open() -> None:
    weights = initial(NetworkSettings("lstm", (4,)))
    for name in ("cell_1.input.bias", "cell_1.state.bias"):
        assert (weights[name][..., 4:8] == 2).all()
        assert_uniform(weights[name][..., [*range(4), *range(8, 16)]], 1 / math.sqrt(4))


def test_readout_initialisation() -> None:
    weights = initial(NetworkSettings("rnn", (4,)))
    assert_uniform(weights["readout_1.weight"], 1 / math.sqrt(4))
    assert_uniform(weights["readout_1.bias"], 1 / math.sqrt(4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (NetworkSettings("gpt", (4,)), f"{', '.join(MODELS)}, got 'gpt'"),
        (NetworkSettings("rhn", (4, 5)), r"one width, got \[4, 5\]"),
        (NetworkSettings("dmu", (4, 0)), r"positive width per layer, got \(4, 0\)"),
        (NetworkSettings("dmu", ()), r"positive width per layer, got \(\)"),
    ],
)
def test_refused_settings(settings: NetworkSettings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PolyMusic.network(settings)
