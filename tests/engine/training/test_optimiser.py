"""Learning rates and weight decays against the values of the paper and of its released code."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks.polymusic import PolyMusic
from dmu_search.engine.training.optimiser import (
    adam,
    clip_gradients,
    parameter_groups,
)
from dmu_search.errors import ConfigError
from dmu_search.names import MODELS


def settings_with(learning_rate: float, **others: Any) -> TrainingSettings:
    return TrainingSettings(learning_rate, batch_size=32, max_epochs=1, **others)


def groups_of(model: str, depth: int, rule: str, **other: object) -> list[tuple[float, float]]:
    """Learning rate and weight decay of each group."""
    network = PolyMusic.network(NetworkSettings(model, (4,) * depth))
    settings = settings_with(0.005, weight_decay=1e-4, block_learning_rate_rule=rule, **other)
    return [(g.learning_rate, g.weight_decay) for g in parameter_groups(network, settings)]


@pytest.mark.parametrize(
    ("depth", "learning_rate"), [(1, 0.0025), (2, 0.00125), (5, 0.0005), (10, 0.00025)]
)
def test_released_rule(depth: int, learning_rate: float) -> None:
    *block, rest = groups_of("dmu", depth, "released")
    assert rest == (0.005, 1e-4)
    assert len(block) == depth
    for group in block:
        assert group == pytest.approx((learning_rate, 1e-4 * learning_rate / 0.005))


@pytest.mark.parametrize("depth", [1, 2, 5, 10])
def test_paper_rule(depth: int) -> None:
    *block, rest = groups_of("dmu", depth, "paper")
    assert rest == (0.005, 1e-4)
    expected = [0.005 / (depth + 1 - i) for i in range(1, depth + 1)]
    assert [group[0] for group in block] == pytest.approx(expected)
    assert block[-1][0] == 0.005


def test_ratio_rule_and_unscaled_weight_decay() -> None:
    first, second, rest = groups_of(
        "dmu", 2, "ratio", block_learning_rate_ratio=0.1, scale_block_weight_decay=False
    )
    assert first == second == (pytest.approx(0.0005), 1e-4)
    assert rest == (0.005, 1e-4)


@pytest.mark.parametrize("model", [model for model in MODELS if model != "dmu"])
def test_other_models_have_one_plain_group(model: str) -> None:
    assert groups_of(model, 2, "released") == [(0.005, 1e-4)]


@pytest.mark.parametrize("model", MODELS)
def test_every_weight_is_in_one_group(model: str) -> None:
    network = PolyMusic.network(NetworkSettings(model, (4, 4, 4)))
    groups = parameter_groups(network, settings_with(0.005))
    names = [name for group in groups for name in group.names]
    assert sorted(names) == sorted(network.shapes)


def test_first_dense_layer_is_both_its_matrices() -> None:
    network = PolyMusic.network(NetworkSettings("dmu", (4, 4)))
    first, second, rest = parameter_groups(network, settings_with(0.005))
    assert first.names == ("cell_1.dense_1.input", "cell_1.dense_1.state", "cell_1.dense_1.bias")
    assert second.names == ("cell_1.dense_2.weight", "cell_1.dense_2.bias")
    assert rest.names == ("readout_1.weight", "readout_1.bias")


def test_gamma_scales_every_learning_rate() -> None:
    network = PolyMusic.network(NetworkSettings("dmu", (4, 4)))
    weights = network.initialise([torch.Generator()])
    optimiser = adam(weights, network, settings=settings_with(0.4))
    optimiser.decay_learning_rates(0.5)
    assert [each.learning_rate for each in optimiser.groups] == pytest.approx([0.1, 0.2, 0.2])


def test_steps_as_torch_does() -> None:
    """To the bit, in weights that fill no register, with a learning rate that falls."""
    network = PolyMusic.network(NetworkSettings("dmu", (4, 3)))
    settings = settings_with(0.5, weight_decay=0.125)
    weights = network.initialise([torch.Generator().manual_seed(1)])
    theirs = {name: torch.nn.Parameter(weight.detach().clone()) for name, weight in weights.items()}
    optimiser = adam(weights, network, settings=settings)
    peer = torch.optim.Adam(
        [
            {
                "params": [theirs[n] for n in g.names],
                "lr": g.learning_rate,
                "weight_decay": g.weight_decay,
            }
            for g in parameter_groups(network, settings)
        ],
        fused=True,
    )
    for _ in range(5):
        optimiser.zero_grad()
        for name, weight in weights.items():
            weight.grad += torch.randn_like(weight)
            theirs[name].grad = weight.grad.clone()
        optimiser.step()
        peer.step()
        optimiser.decay_learning_rates(0.75)
        for group in peer.param_groups:
            group["lr"] *= 0.75
        for name, weight in weights.items():
            torch.testing.assert_close(weight.detach(), theirs[name].detach(), rtol=1e-6, atol=1e-7)


def random_gradients(replicas: int) -> dict[str, torch.Tensor]:
    """Weights of a small network, with gradients of norms from a tenth of 1 to thousands."""
    network = PolyMusic.network(NetworkSettings("dmu", (4, 3)))
    generators = [torch.Generator().manual_seed(seed) for seed in range(replicas)]
    weights = network.initialise(generators, torch.float64)
    for weight in weights.values():
        scales = torch.tensor([0.001, 1.0, 100.0])[:replicas].reshape(-1, 1, 1)
        weight.grad = torch.randn_like(weight) * scales
    return weights


@pytest.mark.parametrize("largest_norm", [0.01, 0.5, 30.0, 1e6])
def test_clips_each_replica_as_torch_clips_a_network(largest_norm: float) -> None:
    weights = random_gradients(3)
    before = {name: weight.grad.clone() for name, weight in weights.items()}
    clip_gradients(weights, largest_norm)
    for replica in range(3):
        solo = [torch.nn.Parameter(weight[replica]) for weight in weights.values()]
        for parameter, gradient in zip(solo, before.values(), strict=True):
            parameter.grad = gradient[replica].clone()
        norm = torch.nn.utils.clip_grad_norm_(solo, largest_norm)
        for (name, weight), parameter in zip(weights.items(), solo, strict=True):
            # The same sums of squares, in another order.
            torch.testing.assert_close(weight.grad[replica], parameter.grad, rtol=1e-12, atol=0)
            if norm < largest_norm:
                assert torch.equal(weight.grad[replica], before[name][replica])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_gradient_spoils_no_other_replica(bad: float) -> None:
    weights, expected = random_gradients(3), random_gradients(3)
    for name, weight in weights.items():
        expected[name].grad = weight.grad.clone()
    weights["readout_1.bias"].grad[1, 0, 3] = bad
    clip_gradients(weights, 0.5)
    clip_gradients(expected, 0.5)
    for name, weight in weights.items():
        assert torch.equal(weight.grad[[0, 2]], expected[name].grad[[0, 2]])


def test_a_recorded_step_sees_learning_rates_change() -> None:
    """They stay the same tensors, whatever happens to them."""
    network = PolyMusic.network(NetworkSettings("dmu", (4,)))
    weights = network.initialise([torch.Generator()])
    optimiser, plain = (
        adam(weights, network, settings=settings_with(0.5), recordable=recordable)
        for recordable in (True, False)
    )
    rates = [group.learning_rate for group in optimiser.groups]
    optimiser.decay_learning_rates(0.5)
    assert [float(rate) for rate in rates] == [0.25, 0.25]
    for saved in (plain.state_dict(), optimiser.state_dict()):
        optimiser.load_state_dict(saved)
        assert all(g.learning_rate is r for g, r in zip(optimiser.groups, rates, strict=True))
        assert [float(rate) for rate in rates] == [group["lr"] for group in saved["param_groups"]]
        plain.load_state_dict(saved)
        assert all(type(group.learning_rate) is float for group in plain.groups)
        optimiser.decay_learning_rates(0.5)


@pytest.mark.slow
def test_training_needs_no_compiler() -> None:
    """PyTorch's, which takes a second of each process that imports it."""
    program = "\n".join(
        (
            "import sys, torch",
            "from dmu_search.engine.training.adam import Adam, AdamGroup",
            "weight = torch.ones(3, requires_grad=True)",
            "group = AdamGroup.of([weight], learning_rate=1.0, weight_decay=0.0, recordable=False)",
            "weight.sum().backward()",
            "Adam([group]).step()",
            "assert weight.abs().max() < 1e-6",
            "print('torch._dynamo' in sys.modules)",
        )
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("False\n", "")


def test_unknown_rule() -> None:
    with pytest.raises(ConfigError, match="paper, released, ratio, got 'half'"):
        groups_of("dmu", 1, "half")
