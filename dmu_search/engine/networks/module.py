"""A trained network as a plain ``torch.nn.Module``, for use outside this program."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import Tensor, nn

from dmu_search.engine.kernels.rows import full_rows
from dmu_search.engine.networks.network import Architecture, Network, Weights, build_network
from dmu_search.engine.networks.translator import Translator, Vocabulary, build_translator
from dmu_search.engine.settings import NetworkSettings

Description = Mapping[str, Any]


class TrainedNetwork(nn.Module):
    """One replica of a network, with its weights as parameters.

    A pickle of it holds this class by its name, a description of plain values, and tensors.

    Args:
        description: of ``describe``.
        weights: of one replica, by name.
    """

    def __init__(self, description: Description, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.description = dict(description)
        self.architecture = _architecture(description)
        self._names = tuple(self.architecture.shapes)
        for name in self._names:
            own = nn.Parameter(weights[name].detach().clone())
            self.register_parameter(_as_attribute(name), own)

    @property
    def weights(self) -> Weights:
        """The parameters by the architecture's names, each with a replica axis of one."""
        return {name: getattr(self, _as_attribute(name))[None] for name in self._names}

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        """An output for each step of sequences of one length.

        Args:
            x: features, ``(batch, time, feature)``, or symbols or words, ``(batch, time)``.
            target: of a translator: the words that its decoder reads, ``(batch, time)``.

        Returns:
            Linear outputs, ``(batch, time, output)``: logits where there is something to choose.
        """
        weights = self.weights
        rows = full_rows(1, x.shape[0], times=x.shape[1], device=x.device)
        if isinstance(self.architecture, Network):
            found, _ = self.architecture.forward(weights, _packed(x), rows=rows)
            return _unpacked(found, x.shape[0])
        translator = cast(Translator, self.architecture)
        assert target is not None, "a translator reads two sentences"
        state = translator.encode(weights, _packed(x), rows=rows)
        rows = full_rows(1, target.shape[0], times=target.shape[1], device=x.device)
        hidden = translator.decode(weights, _packed(target), rows=rows, initial_state=state)
        weight, bias = translator.readout(weights)
        return _unpacked(hidden @ weight + bias, x.shape[0])

    def example(self) -> Tensor:
        """An input that ``forward`` takes, of two sequences and five steps."""
        if isinstance(self.architecture, Network) and self.architecture.vocabulary is None:
            return torch.zeros(2, 5, self.architecture.cells[0].input_size)
        return torch.zeros(2, 5, dtype=torch.int64)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        weights = {name: getattr(self, _as_attribute(name)).detach() for name in self._names}
        return TrainedNetwork, (self.description, weights)


def describe(architecture: Architecture, settings: NetworkSettings) -> dict[str, Any]:
    """What a ``TrainedNetwork`` is built from, as JSON holds it.

    Args:
        architecture: of a task.
        settings: that the task made it from.
    """
    own: dict[str, Any] = {"settings": {**asdict(settings), "widths": list(settings.widths)}}
    if isinstance(architecture, Translator):
        source, target = architecture.encoder.vocabulary, architecture.decoder.vocabulary
        return own | {"kind": "translator", "source": source, "target": target}
    assert isinstance(architecture, Network), "there is no third kind"
    return own | {
        "kind": "network",
        "input_size": architecture.cells[0].input_size,
        "readout": list(architecture.readout),
        "vocabulary": architecture.vocabulary,
    }


def _architecture(description: Description) -> Architecture:
    values = description["settings"]
    settings = NetworkSettings(**{**values, "widths": tuple(values["widths"])})
    if description["kind"] == "translator":
        return build_translator(settings, Vocabulary(description["source"], description["target"]))
    return build_network(
        settings,
        input_size=description["input_size"],
        readout=tuple(description["readout"]),
        vocabulary=description["vocabulary"],
    )


def _as_attribute(name: str) -> str:
    """A name of a weight without dots, which parameters may not have."""
    return name.replace(".", "__")


def _packed(x: Tensor) -> Tensor:
    """``(batch, time, ..)`` as rows of one replica, time-major."""
    return x.transpose(0, 1).reshape(1, -1, *x.shape[2:])


def _unpacked(rows: Tensor, batch: int) -> Tensor:
    return rows.reshape(-1, batch, rows.shape[-1]).transpose(0, 1)
