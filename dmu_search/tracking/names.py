"""Short names of runs, as lists and legends have room for."""

import re
from collections.abc import Mapping

_SHORT = {
    "data.length": "L",
    "network.initialisation": "init",
    "network.widths": "widths",
    "training.batch_size": "bs",
    "training.block_learning_rate_ratio": "block_lr",
    "training.block_learning_rate_rule": "block_rule",
    "training.gradient_clip_norm": "clip",
    "training.gradient_clipping": "clipping",
    "training.learning_rate": "lr",
    "training.teacher_forcing_ratio": "forcing",
    "training.weight_decay": "wd",
}
# Before the keys that all trials share, so that the searched ones come first.
FIXED = "unsearched/"
_STAMP = re.compile(r"-(?:\d{4})(\d{4})-(\d{4})\d\d(?=$|-)")


def short_key(name: str) -> str:
    """A searched key in a few characters: ``lr`` for ``training.learning_rate``."""
    return _SHORT.get(name, name.rpartition(".")[2])


def short_values(values: Mapping[str, object]) -> str:
    """Searched settings in a line: ``lr=0.0057 bs=4``."""
    return " ".join(f"{short_key(name)}={_digits(value)}" for name, value in values.items())


def short_study(name: str, task: str) -> str:
    """A study's name less its task, year and seconds: ``dmu-d1 1129-0047``."""
    return _STAMP.sub(r" \1-\2", name.removeprefix(f"{task}-"))


def _digits(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
