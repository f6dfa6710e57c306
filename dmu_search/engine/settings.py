"""What the training engine is told: frozen values, already checked at the edge.

A default leaves something out, such as a decay or clipping. The defaults of a search stand in
``search_spaces/``, which names every value; a test asserts that the two agree.
"""

from dataclasses import KW_ONLY, dataclass


@dataclass(frozen=True)
class NetworkSettings:
    """A recurrent network, less what its task dictates (inputs and readout).

    Attributes:
        model: a key of ``dmu_search.names.MODELS``.
        widths: one per layer. DMU: the dense layers, the last being the memory; RHN: the one
            width, repeated for each layer of the recurrence; LSTM, GRU, RNN: the stacked layers.
        z_bias: added to the biases that produce ``z_t`` at initialisation (DMU only).
        initialisation: ``xavier``, ``pytorch`` (that of ``torch.nn.Linear``), or ``released``: what
            the authors' code does, which is xavier for DMU and pytorch for RHN. Others ignore it.
    """

    model: str
    widths: tuple[int, ...]
    z_bias: float = 0.0
    initialisation: str = "released"

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.widths)


@dataclass(frozen=True)
class TrainingSettings:
    """How one network, or several replicas of it, is trained.

    Attributes:
        learning_rate: of Adam, for everything outside the DMU block.
        weight_decay: coupled L2, as in ``torch.optim.Adam``.
        gamma: factor on every learning rate after each epoch.
        batch_size: sequences per batch; the release's where a file to train names none.
        max_epochs: epochs after which training is finished.
        block_learning_rate_rule: the DMU block's learning rate: ``paper`` divides it by
            ``depth + 1 - i`` in dense layer i, ``released`` by ``2 * depth`` in the whole block,
            ``ratio`` multiplies it by ``block_learning_rate_ratio``. Other models ignore it.
        block_learning_rate_ratio: the factor of the rule ``ratio``.
        scale_block_weight_decay: whether the block's weight decay is scaled like its learning rate.
        gradient_clipping: ``norm`` scales the gradient of each replica, all its weights together,
            down to ``gradient_clip_norm`` where its Euclidean norm is larger; ``off`` leaves it.
        gradient_clip_norm: that norm.
        teacher_forcing_ratio: translation only: probability, for each replica, that the decoder
            reads the right words and not its own.
        teacher_forcing_draw: what that is drawn for: ``batch``, all steps of a batch together, or
            ``step``, each of them, as released.
        replicas: independently seeded copies trained as one program.
        seed: of replica 0; replica i has ``seed + i``.
        stop_below: a replica is done once its validation objective (one to be minimised) has been
            below this for long enough; None: never before ``max_epochs``.
        stop_patience: consecutive epochs below ``stop_below`` that it takes.
    """

    learning_rate: float
    _: KW_ONLY
    weight_decay: float = 0.0
    gamma: float = 1.0
    batch_size: int = 32
    max_epochs: int
    block_learning_rate_rule: str = "paper"
    block_learning_rate_ratio: float = 1.0
    scale_block_weight_decay: bool = True
    gradient_clipping: str = "off"
    gradient_clip_norm: float = 1.0
    teacher_forcing_ratio: float = 1.0
    teacher_forcing_draw: str = "batch"
    replicas: int = 1
    seed: int = 0
    stop_below: float | None = None
    stop_patience: int = 5
