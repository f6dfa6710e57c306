"""The recurrence behind one contract, so that a faster backend can take a loop's place."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dmu_search.engine.kernels.backend import choose_backend
from dmu_search.engine.kernels.native.recurrence import native_recur, native_scan, takes_inputs
from dmu_search.engine.kernels.rows import PackedRows, Rows, State
from dmu_search.engine.networks.cells.base import Cell


def reference_scan(
    cell: Cell,
    weights: Mapping[str, Tensor],
    *,
    x_projected: Tensor,
    initial_state: State,
    rows: Rows,
) -> tuple[Tensor, State]:
    """Run a cell over packed sequences by a plain loop, on any device and in any precision.

    ``h_t = cell.step(weights, x_t, h_{t-1})`` for each sequence, up to its own last step.

    Args:
        cell: what happens inside a step.
        weights: the cell's own, each with a leading replica axis.
        x_projected: ``cell.project`` of the packed inputs, ``(replica, row, projected)``.
        initial_state: one ``(replica, batch, hidden)`` per component, in batch order.
        rows: the packing of the batch.

    Returns:
        The first component of the state after each step, ``(replica, row, hidden)``, and the state
        of each sequence after its own last step, ``(replica, batch, hidden)`` per component, in
        batch order.
    """
    state = tuple(rows.sort(component) for component in initial_state)
    trace = []
    # `split`, because slicing a big tensor per step makes the backward pass allocate it per step.
    for x in torch.split(rows.to_steps(x_projected), rows.step_sizes, dim=1):
        running = x.shape[1]
        if running < state[0].shape[1]:
            state = tuple(component[:, :running] for component in state)
        state = cell.step(weights, x, state)
        trace.append(state)
    # Sequences that have ended in one replica but not in another keep stepping on surplus rows.
    # No mask is needed: their last real step is picked from the trace, and nothing reads the rest.
    components = [rows.from_steps(torch.cat(steps, dim=1)) for steps in zip(*trace, strict=True)]
    return components[0], tuple(rows.last(component) for component in components)


def scan(
    cell: Cell,
    weights: Mapping[str, Tensor],
    *,
    x_projected: Tensor,
    initial_state: State,
    rows: Rows,
) -> tuple[Tensor, State]:
    """Run a cell over packed sequences by the backend in use; see ``reference_scan``.

    CUDA graphs are recorded from the reference, so they need no loop of their own.
    """
    backend = choose_backend(x_projected.device, x_projected.dtype)
    program = cell.program if backend.name == "native" else None
    if program is not None and isinstance(rows, PackedRows):
        return native_scan(
            program, weights, x_projected=x_projected, initial_state=initial_state, rows=rows
        )
    return reference_scan(
        cell, weights, x_projected=x_projected, initial_state=initial_state, rows=rows
    )


def recur(
    cell: Cell,
    weights: Mapping[str, Tensor],
    *,
    x: Tensor,
    initial_state: State,
    rows: Rows,
) -> tuple[Tensor, State]:
    """Project packed inputs and run a cell over them: in one loop where that is faster.

    Args:
        cell: what happens inside a step.
        weights: the cell's own, each with a leading replica axis.
        x: ``(replica, row, input)``, multi-hot inputs being bytes; or symbols for one-hot inputs,
            ``(replica, row)``.
        initial_state: as for ``reference_scan``.
        rows: the packing of the batch.

    Returns:
        As ``reference_scan``.
    """
    if x.dtype == torch.uint8:
        return scan(
            cell,
            weights,
            x_projected=cell.project_notes(weights, x),
            initial_state=initial_state,
            rows=rows,
        )
    state = initial_state[0]
    native = choose_backend(state.device, state.dtype).name == "native"
    program = cell.program if native else None
    if (
        program is not None
        and isinstance(rows, PackedRows)
        and takes_inputs(program, x, rows=rows, dtype=state.dtype)
    ):
        return native_recur(
            program,
            weights,
            projection=cell.projection(weights),
            x=x,
            initial_state=initial_state,
            rows=rows,
        )
    project = cell.project if x.is_floating_point() else cell.project_symbols
    return scan(
        cell, weights, x_projected=project(weights, x), initial_state=initial_state, rows=rows
    )
