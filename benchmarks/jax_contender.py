"""A DMU in JAX, ``lax.scan`` over padded steps and ``vmap`` over replicas; only where JAX is."""

import jax
import jax.numpy as jnp
import numpy as np
from contenders import Batch, Step

from dmu_search.engine.settings import NetworkSettings


def jax_step(settings: NetworkSettings, batches: list[Batch]) -> Step:
    """Gradients of all replicas in one compiled program; plain gradient descent ends a step."""
    inputs, outputs = batches[0].x.shape[2], batches[0].targets.shape[2]
    hidden = settings.widths[-1]
    sizes = [inputs + hidden, *settings.widths[:-1]]
    keys = np.random.default_rng(0)
    replicas = batches[0].rows.replicas
    layers = [
        (
            keys.normal(size=(replicas, i, o)).astype(np.float32) / np.sqrt(i),
            np.zeros((replicas, o), np.float32),
        )
        for i, o in zip([*sizes, hidden], [*settings.widths[:-1], 2 * hidden, outputs], strict=True)
    ]

    def loss(layers, x, mask, targets):
        *block, (read, bias) = layers

        def step(h, inputs):
            x, running = inputs
            dense = jnp.concatenate([x, h], axis=1)
            for number, (w, b) in enumerate(block):
                dense = jax.nn.leaky_relu(dense) if number else dense
                dense = dense @ w + b
            z, proposal = jnp.split(dense, 2, axis=1)
            keep = jax.nn.sigmoid(z)
            new = h * keep + jnp.tanh(proposal) * (1 - keep)
            h = jnp.where(running[:, None], new, h)
            return h, h

        final, states = jax.lax.scan(step, jnp.zeros((x.shape[1], hidden)), (x, mask))
        if not batches[0].per_step:
            return ((final @ read + bias - targets) ** 2).mean()
        logits = states @ read + bias
        nll = jnp.logaddexp(0.0, logits) - logits * targets
        return (nll.sum(-1) * mask).sum() / mask.sum()

    @jax.jit
    def update(layers, x, mask, targets):
        gradients = jax.vmap(jax.grad(loss))(layers, x, mask, targets)
        return jax.tree.map(lambda w, g: w - 1e-3 * g, layers, gradients)

    padded = [_padded(batch) for batch in batches]

    def step() -> None:
        nonlocal layers
        for batch in padded:
            layers = update(layers, *batch)
        jax.block_until_ready(layers)

    return step


def _padded(batch: Batch) -> tuple[np.ndarray, ...]:
    """Inputs ``(replica, time, batch, input)``, mask, and targets shaped like either."""
    replicas, count = batch.rows.lengths.shape
    times = int(batch.rows.lengths.max())
    valid = batch.rows.valid.numpy()
    replica = np.broadcast_to(np.arange(replicas)[:, None], valid.shape)[valid]
    where = (replica, batch.rows.time.numpy()[valid], batch.rows.sequence.numpy()[valid])

    def scatter(packed: np.ndarray) -> np.ndarray:
        whole = np.zeros((replicas, times, count, packed.shape[2]), np.float32)
        whole[where] = packed[valid]
        return whole

    mask = np.arange(times)[None, :, None] < batch.rows.lengths[:, None, :]
    targets = batch.targets.numpy()
    return scatter(batch.x.numpy()), mask, scatter(targets) if batch.per_step else targets
