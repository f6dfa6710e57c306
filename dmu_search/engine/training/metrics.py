"""Per-replica results as named metrics."""

from collections.abc import Mapping, Sequence


def replica_metrics(metrics: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The mean of each metric over replicas, and each replica's own where there are several.

    Args:
        metrics: name -> value of each replica.

    Returns:
        ``name`` and ``name/replica_i``.
    """
    named: dict[str, float] = {}
    for name, values in metrics.items():
        named[name] = sum(values) / len(values)
        if len(values) > 1:
            named |= {f"{name}/replica_{i}": float(value) for i, value in enumerate(values)}
    return named


def summary_metrics(metrics: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Metrics at each replica's best epoch, as a run keeps them beside those of every epoch.

    Args:
        metrics: of ``Trainer.evaluate_best``.

    Returns:
        As ``replica_metrics``, with ``best_`` before validation metrics: without it they would
        continue the series of all epochs.
    """
    renamed = {
        f"best_{name}" if name.startswith("val_") else name: values
        for name, values in metrics.items()
    }
    return replica_metrics(renamed)
