"""The data of a synthetic task: rules, and the sequences that they fix."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

from dmu_search.data.settings import DataSettings
from dmu_search.engine.tasks import task_class
from dmu_search.engine.tasks.generated import FIXED_SEEDS, GeneratedTask, Rules


@dataclass(frozen=True)
class GeneratedData:
    """Rules to make sequences by, described like a corpus.

    Args:
        name: of the task.
        rules: its parameters.
    """

    name: str
    rules: Rules
    warning: None = None

    @property
    def task_data(self) -> Rules:
        """What the task is made over."""
        return self.rules

    @property
    def sequences(self) -> dict[str, int]:
        """Number of sequences in the fixed set of each split."""
        return self.rules.fixed_sequences

    @cached_property
    def sha256(self) -> str:
        """Hash of the rules' parameters and of every sequence of the fixed sets.

        A change of the rules, or of torch's random numbers, shows in it.
        """
        task = task_class(self.name)(self.rules)
        assert isinstance(task, GeneratedTask), f"{self.name} is made by rules"
        digest = hashlib.sha256(f"{self.name} {self.rules}\n".encode())
        for split in FIXED_SEEDS:
            fixed = task.fixed_set(split)
            for values in (fixed.inputs, fixed.lengths, fixed.targets):
                digest.update(f"{split} {tuple(values.shape)}\n".encode())
                digest.update(values.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def steps_per_epoch(self, batch_size: int) -> int:
        """Time steps that an epoch trains on, at most."""
        return self.rules.batches_per_epoch * batch_size * self.rules.longest

    def describe(self) -> str:
        """One line: name, what is made for an epoch, and the fixed sets."""
        rules = self.rules
        noise = f"{rules.noise} noise, " if self.name == "noiseseq" else ""
        fixed = " / ".join(f"{count:,}" for count in self.sequences.values())
        return (
            f"{self.name}: made by rules of length {rules.length}, {noise}"
            f"{rules.batches_per_epoch} fresh batches per epoch, fixed sets of {fixed} sequences"
        )


def load(task: str, settings: DataSettings) -> GeneratedData:
    """The rules of a task.

    Raises:
        ConfigError: rules that no sequence fits.
    """
    rules = Rules(settings.needed("length"), settings.needed("batches_per_epoch"))
    # Only one task has noise.
    return GeneratedData(
        task, rules if settings.noise is None else replace(rules, noise=settings.noise)
    )
