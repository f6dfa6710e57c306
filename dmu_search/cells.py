"""The recurrent networks as modules for anyone's PyTorch: ``cells.DMU(88, 100, depth=2)``.

They are called as ``torch.nn.GRU`` is. On the CPU the native loop runs them; it is built at first
use, and without a compiler the plain PyTorch loop takes its place.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from dmu_search.engine.kernels.rows import PackedRows, State
from dmu_search.engine.networks.cells import Cell, recurrent_block
from dmu_search.engine.networks.cells.base import Shape, linear_bound, uniform, xavier_bound
from dmu_search.engine.networks.scan import recur
from dmu_search.engine.settings import NetworkSettings
from dmu_search.errors import ConfigError

__all__ = [
    "DMU",
    "GRU",
    "LSTM",
    "RHN",
    "RNN",
    "Cell",
    "Recurrent",
    "Shape",
    "State",
    "linear_bound",
    "uniform",
    "xavier_bound",
]

States = Tensor | tuple[Tensor, ...]


class Recurrent(nn.Module):
    """Recurrent cells in a row, each reading the states of the one before; the base of the others.

    Args:
        cells: of equal widths; one's own are subclasses of ``Cell``.
        batch_first: whether inputs and outputs are ``(batch, time, feature)``, not
            ``(time, batch, feature)``. States never are, as in ``torch.nn.GRU``.

    Raises:
        ConfigError: the cells differ in the widths of their states.
    """

    def __init__(self, cells: Sequence[Cell], *, batch_first: bool = False) -> None:
        super().__init__()
        self.cells = tuple(cells)
        if len({cell.state_sizes for cell in self.cells}) != 1:
            sizes = [cell.state_sizes for cell in self.cells]
            raise ConfigError(f"cells: must have states of one width, got {sizes}; make them equal")
        self.input_size = self.cells[0].input_size
        self.hidden_size = self.cells[0].hidden_size
        self.batch_first = batch_first
        for number, cell in enumerate(self.cells):
            for name, shape in cell.shapes.items():
                own = nn.Parameter(torch.empty(shape))
                self.register_parameter(_parameter(name, number), own)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew from torch's generator, by the rule of the model."""
        with torch.no_grad():
            for number, cell in enumerate(self.cells):
                drawn = cell.initialise(torch.default_generator, torch.get_default_dtype())
                for name, weight in drawn.items():
                    getattr(self, _parameter(name, number)).copy_(weight)

    def forward(
        self, x: Tensor | PackedSequence, hx: States | None = None
    ) -> tuple[Tensor | PackedSequence, States]:
        """Run the cells over sequences.

        Args:
            x: ``(time, batch, feature)``; with ``batch_first`` ``(batch, time, feature)``; of
                one sequence ``(time, feature)``; or packed sequences.
            hx: states before the first step, ``(cell, batch, hidden)``, zeros if None; of one
                sequence ``(cell, hidden)``. An LSTM takes two of them, h and c.

        Returns:
            The last cell's states after each step, in the form of the input; and the states after
            each sequence's own last step, in the form of ``hx``.

        Raises:
            ConfigError: shapes or number types do not fit.
        """
        if isinstance(x, PackedSequence):
            return self._forward_packed(x, hx)
        if x.dim() not in (2, 3):
            raise ConfigError(
                f"x: must have 2 or 3 axes, got {tuple(x.shape)}; of one sequence they "
                "are (time, feature)"
            )
        alone = x.dim() == 2
        if alone:
            x, hx = x[:, None], _map(hx, lambda each: each[:, None])
        elif self.batch_first:
            x = x.transpose(0, 1)
        times, batch = x.shape[:2]
        rows = _full_rows(times, batch, device=x.device)
        flat, state = self._recur(x.reshape(times * batch, -1), hx, rows=rows)
        output = flat.reshape(times, batch, -1)
        if alone:
            return output[:, 0], _map(state, lambda each: each[:, 0])
        return (output.transpose(0, 1) if self.batch_first else output), state

    def _forward_packed(
        self, packed: PackedSequence, hx: States | None
    ) -> tuple[PackedSequence, States]:
        to_sorted, from_sorted = packed.sorted_indices, packed.unsorted_indices
        if to_sorted is not None:
            hx = _map(hx, lambda each: each.index_select(1, to_sorted))
        # Torch's packing is ours: time-major, the longest sequences first.
        running = packed.batch_sizes.numpy()
        lengths = (running[:, None] > np.arange(running[0])).sum(axis=0)
        rows = PackedRows(lengths[None], packed.data.device)
        flat, state = self._recur(packed.data, hx, rows=rows)
        if from_sorted is not None:
            state = _map(state, lambda each: each.index_select(1, from_sorted))
        return PackedSequence(flat, packed.batch_sizes, to_sorted, from_sorted), state

    def _recur(self, flat: Tensor, hx: States | None, *, rows: PackedRows) -> tuple[Tensor, States]:
        """Run the cells over rows, ``(row, feature)``; states are ``(cell, batch, hidden)``."""
        before = self._states(flat, hx, batch=rows.batch)
        x, ends = flat[None], []
        for number, cell in enumerate(self.cells):
            own = {name: getattr(self, _parameter(name, number))[None] for name in cell.shapes}
            state = tuple(component[number][None] for component in before)
            x, end = recur(cell, own, x=x, initial_state=state, rows=rows)
            ends.append(end)
        after = tuple(torch.cat(component) for component in zip(*ends, strict=True))
        return x[0], after[0] if len(after) == 1 else after

    def _states(self, flat: Tensor, hx: States | None, *, batch: int) -> tuple[Tensor, ...]:
        weight = next(self.parameters())
        if flat.shape[1] != self.input_size or flat.dtype != weight.dtype:
            raise ConfigError(
                f"input: must have {self.input_size} features of {weight.dtype}, got "
                f"{flat.shape[1]} of {flat.dtype}; the module's .to() changes the type of weights"
            )
        sizes = self.cells[0].state_sizes
        shapes = [(len(self.cells), batch, size) for size in sizes]
        if hx is None:
            return tuple(flat.new_zeros(shape) for shape in shapes)
        given = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        if [tuple(each.shape) for each in given] != shapes:
            raise ConfigError(
                f"hx: must be of shape {' and '.join(map(str, shapes))}, got "
                f"{' and '.join(str(tuple(each.shape)) for each in given)}; leave it out for zeros"
            )
        return given

    def extra_repr(self) -> str:
        """Sizes, as torch's own modules show them."""
        first = "batch_first=True" if self.batch_first else ""
        sizes = f"{self.input_size}, {self.hidden_size}, weights={self._count()}"
        return ", ".join(filter(None, (sizes, first)))

    def _count(self) -> int:
        return sum(cell.weight_count for cell in self.cells)


class DMU(Recurrent):
    """Deep Memory Update: dense layers over input and memory decide how the memory changes.

    Neumann et al., "Deep Memory Update". One state of ``hidden_size``, whatever the depth.

    Args:
        input_size: features of an input.
        hidden_size: width of the memory, and of the dense layers below unless ``widths`` says.
        depth: dense layers.
        widths: of the dense layers, the last being the memory; None: all ``hidden_size``.
        z_bias: added to the biases that produce ``z_t``; the larger, the longer is the memory.
        initialisation: ``released`` or ``xavier``, or ``pytorch`` as in ``torch.nn.Linear``.
        batch_first: see ``Recurrent``.

    Raises:
        ConfigError: widths below 1, or a number of them that is not the depth.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        depth: int = 1,
        widths: Sequence[int] | None = None,
        z_bias: float = 0.0,
        initialisation: str = "released",
        batch_first: bool = False,
    ) -> None:
        own = (hidden_size,) * depth if widths is None else tuple(widths)
        if len(own) != depth or own[-1:] != (hidden_size,):
            raise ConfigError(
                f"widths: must be {depth} (the depth), the last {hidden_size} (the memory), got "
                f"{list(own)}; change one of them"
            )
        settings = NetworkSettings("dmu", own, z_bias, initialisation)
        super().__init__(recurrent_block(input_size, settings), batch_first=batch_first)


class RHN(Recurrent):
    """Recurrent highway network, Zilly et al.: ``depth`` highway layers in each step, one state.

    Args:
        input_size: features of an input.
        hidden_size: width of the state and of every layer.
        depth: highway layers.
        initialisation: ``released`` or ``pytorch`` as in ``torch.nn.Linear``, or ``xavier``.
        batch_first: see ``Recurrent``.

    Raises:
        ConfigError: a width or a depth below 1.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        depth: int = 1,
        initialisation: str = "released",
        batch_first: bool = False,
    ) -> None:
        settings = NetworkSettings("rhn", (hidden_size,) * depth, initialisation=initialisation)
        super().__init__(recurrent_block(input_size, settings), batch_first=batch_first)


class _Stacked(Recurrent):
    """Layers of one width, each reading the states of the one below.

    Args:
        input_size: features of an input.
        hidden_size: units of each layer.
        depth: layers; torch calls it ``num_layers``.
        batch_first: see ``Recurrent``.

    Raises:
        ConfigError: a width or a depth below 1.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, depth: int = 1, batch_first: bool = False
    ) -> None:
        settings = NetworkSettings(type(self).__name__.lower(), (hidden_size,) * depth)
        super().__init__(recurrent_block(input_size, settings), batch_first=batch_first)


class LSTM(_Stacked):
    """``torch.nn.LSTM``'s equations; the biases of forget gates begin at 2, as in the release.

    Its states are a pair, h and c. The columns of a weight are those of i, f, o, g.
    """


class GRU(_Stacked):
    """``torch.nn.GRU``'s equations; the columns of a weight are those of r, z, n."""


class RNN(_Stacked):
    """``torch.nn.RNN``'s equations, with tanh."""


def _parameter(name: str, number: int) -> str:
    """A weight as torch names its own: ``dense_1_state_l0``."""
    return f"{name.replace('.', '_')}_l{number}"


Some = TypeVar("Some", States, States | None)


def _map(states: Some, change: Callable[[Tensor], Tensor]) -> Some:
    """The states, each changed; none where there are none."""
    if states is None or isinstance(states, Tensor):
        return None if states is None else change(states)
    return tuple(change(each) for each in states)


# The index tensors of a shape are made once while it is in use.
@lru_cache(maxsize=16)
def _full_rows(times: int, batch: int, *, device: torch.device) -> PackedRows:
    return PackedRows(np.full((1, batch), times, dtype=np.int64), device)
