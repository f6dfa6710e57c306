"""What the engine is measured against: loops as the field writes them, and products alone.

Every contender does what a training step does: forward pass, loss, gradients, Adam.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from dmu_search.engine.kernels.notes import note_nll
from dmu_search.engine.kernels.rows import PackedRows
from dmu_search.engine.networks.cells import recurrent_block
from dmu_search.engine.networks.network import Network
from dmu_search.engine.settings import NetworkSettings

Step = Callable[[], None]
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of one replica, or of all.

    Attributes:
        rows: the packing.
        x: packed inputs, ``(replica, row, input)``.
        targets: of each row, or of each sequence, ``(replica, row or batch, output)``.
        per_step: whether inputs and targets are notes, targets being those of rows.
    """

    rows: PackedRows
    x: Tensor
    targets: Tensor
    per_step: bool

    def replica(self, number: int) -> "Batch":
        """The same batch for one replica alone."""
        own = slice(number, number + 1)
        count = int(self.rows.row_counts[number])
        targets = self.targets[own, :count] if self.per_step else self.targets[own]
        rows = PackedRows(self.rows.lengths[own], self.rows.device)
        return Batch(rows, self.x[own, :count], targets, self.per_step)

    def loss(self, outputs: Tensor) -> Tensor:
        """Notes: binary cross-entropy; else squared error. Summed over replicas."""
        if self.per_step:
            nll = nn.functional.binary_cross_entropy_with_logits(
                outputs, self.targets, reduction="none"
            )
            return self.rows.mean(nll.sum(dim=-1)).sum()
        return (outputs - self.targets).square().mean(dim=(1, 2)).sum()


def engine_step(network: Network, batches: list[Batch]) -> Step:
    """The engine, all replicas at once, by the backend that the environment names."""
    generators = [torch.Generator().manual_seed(i) for i in range(batches[0].rows.replicas)]
    weights = {name: w.requires_grad_() for name, w in network.initialise(generators).items()}
    optimiser = torch.optim.Adam(list(weights.values()), fused=True)
    notes = [(batch.x.byte(), batch.targets.byte()) for batch in batches if batch.per_step]

    def step() -> None:
        for number, batch in enumerate(batches):
            optimiser.zero_grad()
            # A new packing: the engine computes its indices in every step.
            rows = PackedRows(batch.rows.lengths, batch.rows.device)
            if batch.per_step:
                inputs, targets = notes[number]
                logits, _ = network.forward(weights, inputs, rows=rows)
                rows.mean(note_nll(logits, targets)).sum().backward()
            else:
                _, final = network.recur(weights, batch.x, rows=rows)
                batch.loss(network.read(weights, final[-1][0])).backward()
            optimiser.step()

    return step


class EagerCell(nn.Module):
    """A recurrent layer in plain PyTorch over a PackedSequence, one replica.

    Args:
        settings: model and widths; one layer of a stack has one width.
        input_size: width of the inputs.
        project_before: one product over all inputs before the loop, instead of
            ``[x_t, h]`` times one matrix inside it.
    """

    def __init__(self, settings: NetworkSettings, input_size: int, *, project_before: bool) -> None:
        super().__init__()
        self.model, self.project_before = settings.model, project_before
        self.hidden = hidden = settings.widths[-1]
        self.gates = {"lstm": 4, "gru": 3, "rnn": 1}.get(self.model, 2)
        depth = settings.depth if self.model in ("dmu", "rhn") else 1
        if self.model == "dmu":
            outs = [*settings.widths[:-1], 2 * hidden]
            ins = outs[:-1]
        else:
            outs, ins = [self.gates * hidden] * depth, [hidden] * (depth - 1)
        split = project_before or self.model == "gru"
        self.from_x = nn.Linear(input_size, outs[0]) if split else None
        self.first = nn.Linear(hidden if split else input_size + hidden, outs[0])
        self.later = nn.ModuleList(nn.Linear(i, o) for i, o in zip(ins, outs[1:], strict=True))

    def forward(self, packed: PackedSequence) -> tuple[Tensor, Tensor]:
        """States of all rows, and the final ones in sorted order."""
        data, sizes = packed.data, packed.batch_sizes.tolist()
        if self.from_x is not None and self.project_before:
            data = self.from_x(data)
        state = tuple(
            data.new_zeros(sizes[0], self.hidden) for _ in range(1 + (self.model == "lstm"))
        )
        trace, final = [], []
        for x in torch.split(data, sizes):
            if len(x) < len(state[0]):
                final.append(state[0][len(x) :])
                state = tuple(part[: len(x)] for part in state)
            state = self.step(x, state)
            trace.append(state[0])
        return torch.cat(trace), torch.cat([*reversed(final), state[0]][::-1])

    def dense(self, x: Tensor, h: Tensor) -> Tensor:
        """The first product of a step."""
        if self.project_before:
            return x + self.first(h)
        return self.first(torch.cat([x, h], dim=1))

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """One step of the cell."""
        h = state[0]
        if self.model == "gru":
            gates_x = x if self.project_before else self.from_x(x)
            r_x, z_x, n_x = gates_x.chunk(3, dim=1)
            r_h, z_h, n_h = self.first(h).chunk(3, dim=1)
            z = torch.sigmoid(z_x + z_h)
            n = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
            return ((1 - z) * n + z * h,)
        dense = self.dense(x, h)
        if self.model == "rnn":
            return (torch.tanh(dense),)
        if self.model == "lstm":
            i, f, o, g = dense.chunk(4, dim=1)
            c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
            return (torch.sigmoid(o) * torch.tanh(c), c)
        if self.model == "dmu":
            for layer in self.later:
                dense = layer(nn.functional.leaky_relu(dense))
            z, proposal = dense.chunk(2, dim=1)
            keep = torch.sigmoid(z)
            return (h * keep + torch.tanh(proposal) * (1 - keep),)
        for layer in [None, *self.later]:
            a, b = (dense if layer is None else layer(h)).chunk(2, dim=1)
            t = torch.sigmoid(b)
            h = torch.tanh(a) * t + h * (1 - t)
        return (h,)


class Library(nn.Module):
    """A layer of torch.nn over a PackedSequence."""

    def __init__(self, settings: NetworkSettings, input_size: int) -> None:
        super().__init__()
        kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[settings.model]
        self.layer = kind(input_size, settings.widths[-1])
        self.hidden = settings.widths[-1]

    def forward(self, packed: PackedSequence) -> tuple[Tensor, Tensor]:
        """States of all rows, and the final ones in sorted order."""
        states, final = self.layer(packed)
        return states.data, (final[0] if isinstance(final, tuple) else final)[0]


def module_step(layers: list[nn.Module], outputs: int, batches: list[Batch]) -> Step:
    """Modules over PackedSequences, the first replica of the batches only."""
    own = [batch.replica(0) for batch in batches]
    packed = [(batch.x[0], torch.from_numpy(batch.rows.active_rows[0]), batch) for batch in own]
    readout = nn.Linear(layers[-1].hidden, outputs)
    parameters = [p for module in [*layers, readout] for p in module.parameters()]
    optimiser = torch.optim.Adam(parameters, fused=True)

    def step() -> None:
        for x, sizes, batch in packed:
            optimiser.zero_grad()
            final = x
            for layer in layers:
                x, final = layer(PackedSequence(x, sizes))
            outputs = readout(x if batch.per_step else final)
            batch.loss(outputs.unsqueeze(0)).backward()
            optimiser.step()

    return step


def eager_step(
    settings: NetworkSettings,
    input_size: int,
    outputs: int,
    batches: list[Batch],
    *,
    project_before: bool,
) -> Step:
    """A loop in plain PyTorch."""
    layers: list[nn.Module] = []
    for one, inputs in _layers(settings, input_size):
        layers.append(EagerCell(one, inputs, project_before=project_before))
    return module_step(layers, outputs, batches)


def library_step(
    settings: NetworkSettings, input_size: int, outputs: int, batches: list[Batch]
) -> Step:
    """torch.nn.LSTM, GRU or RNN, one layer after the other."""
    layers: list[nn.Module] = [
        Library(one, inputs) for one, inputs in _layers(settings, input_size)
    ]
    return module_step(layers, outputs, batches)


def _layers(settings: NetworkSettings, input_size: int) -> list[tuple[NetworkSettings, int]]:
    if settings.model in ("dmu", "rhn"):
        return [(settings, input_size)]
    inputs = (input_size, *settings.widths[:-1])
    return [
        (NetworkSettings(settings.model, (width,)), size)
        for width, size in zip(settings.widths, inputs, strict=True)
    ]


def floor_step(
    settings: NetworkSettings, input_size: int, outputs: int, batches: list[Batch]
) -> Step:
    """The matrix products of a training step and nothing else, by torch.mm, one replica."""
    cells = recurrent_block(input_size, settings)
    plans = [_floor_of(cell.shapes, batch.replica(0)) for batch in batches for cell in cells]
    readout = torch.randn(cells[-1].hidden_size, outputs)
    ends = []
    for batch in batches:
        own = batch.replica(0)
        count = own.targets.shape[1]
        ends.append((torch.randn(count, len(readout)), torch.randn(count, outputs)))

    def step() -> None:
        for plan in plans:
            for a, b, out in plan:
                torch.mm(a, b, out=out)
        for states, gradient in ends:
            states @ readout
            states.T @ gradient
            gradient @ readout.T

    return step


def _floor_of(
    shapes: dict[str, tuple[int, int]], batch: Batch
) -> list[tuple[Tensor, Tensor, Tensor]]:
    matrices = [shape for name, shape in shapes.items() if "bias" not in name]
    (first, *inside), rows = matrices, batch.x.shape[1]

    def product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return a, b, torch.empty(len(a), b.shape[1])

    x, gradient = torch.randn(rows, first[0]), torch.randn(rows, first[1])
    plan = [product(x, torch.randn(first)), product(x.T, gradient)]
    weights = [torch.randn(shape) for shape in inside]
    sizes = batch.rows.active_rows[0].tolist()
    for n in sizes:
        plan += [product(torch.randn(n, len(w)), w) for w in weights]
    for n in sizes:
        plan += [product(torch.randn(n, w.shape[1]), w.T) for w in weights]
    plan += [
        product(torch.randn(rows, shape[0]).T, torch.randn(rows, shape[1])) for shape in inside
    ]
    return plan


def products_gflop(network: Network, batches: list[Batch]) -> float:
    """Work of ``floor_step``, in 10^9 multiplications and additions, one replica."""
    total = 0
    for batch in batches:
        rows = int(batch.rows.row_counts[0])
        targets = batch.targets.shape[1] if not batch.per_step else rows
        for name, shape in network.shapes.items():
            if "bias" in name:
                continue
            passes = (
                2 if name in ("cell_1.dense_1.input", "cell_1.input", "cell_1.input.weight") else 3
            )
            total += (targets if "readout" in name else rows) * math.prod(shape) * passes
    return 2e-9 * total
