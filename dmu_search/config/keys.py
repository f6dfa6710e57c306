"""The table of configuration keys: what each takes, and where it may be given.

Everything that has to know a key (parsing, checking, help, did-you-mean) reads this table.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from dmu_search.names import MODELS, TASKS, TaskEntry

Value = bool | int | float | str | None | tuple[int, ...]

CORPORA = ("nottingham", "nottingham-midi", "demo", "auto")
STEPS = ("1/2", "1/4", "1/6", "1/8", "1/12", "1/16", "1/24", "1/32")
NOISES = ("fresh", "fixed")
CLIPPINGS = ("off", "norm")
FORCING_DRAWS = ("batch", "step")
WIDTH_RULES = ("auto", "paper", "matched")
OBJECTIVES = ("mean_over_replicas", "median_over_replicas", "worst_replica")

PUBLISHED = ("paper", "released")
SOURCES = (*PUBLISHED, "best")

TUNE = frozenset({"tune"})
SEARCHED = TUNE | {"space"}
CONFIGURED = SEARCHED | {"train", "reproduce"}
ON_RAY = SEARCHED | {"reproduce"}
SELECTED = frozenset({"reproduce", "report"})
DATA = CONFIGURED | {"data", "doctor"}
WRITES = frozenset({"generate"})
EVERYWHERE = DATA | WRITES | {"sync", "report", "studies"}

# Whole numbers travel through 32-bit integers of other systems.
_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Key:
    """One configuration key.

    Attributes:
        name: dotted name, as on the command line.
        kind: ``int``, ``float``, ``bool``, ``text``, ``name`` (of a folder), ``path``, ``file`` (a
            path made absolute), ``line`` (any words), ``share``, ``amount``, ``widths`` or
            ``corpus``.
        help: what it is, with its unit.
        commands: the commands that take it.
        searchable: whether it may be a distribution.
        listable: whether a comma list makes several studies or selections.
        optional: whether ``null`` is a value.
        minimum: smallest value, inclusive.
        above: largest value that is too small (exclusive bound).
        maximum: largest value, inclusive.
        choices: the words it takes; empty for any.
        models: the models it exists for; empty for all.
        tasks: the tasks it exists for; empty for all.
        only_if: another key and the value it must have for this one to matter.
    """

    name: str
    kind: str
    help: str
    commands: frozenset[str] = CONFIGURED
    searchable: bool = False
    listable: bool = False
    optional: bool = False
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    only_if: tuple[str, str] | None = None

    def exists_for(self, task: str, model: str) -> bool:
        """Whether a training of ``model`` on ``task`` has this key."""
        return self.misplaced([task], [model]) is None

    def misplaced(self, tasks: Sequence[str], models: Sequence[str]) -> str | None:
        """Why none of these tasks and models has the key, in words; None where one has it."""
        for name, own, given in (("task", self.tasks, tasks), ("model", self.models, models)):
            if own and not set(own) & set(given):
                verb = "has" if len(own) == 1 else "have"
                return f"only {', '.join(own)} {verb} it, got {name}={','.join(given)}"
        return None

    def check(self, value: object) -> Value:
        """Return ``value`` in the key's type.

        Raises:
            ValueError: the rule that ``value`` breaks and what it got, without the key's name.
        """
        if value is None:
            if self.optional:
                return None
            raise ValueError(f"must be {self.rule()}, got null")
        if self.kind in _CHECKS:
            return _CHECKS[self.kind][1](value)
        if value is False and "off" in self.choices:
            value = "off"  # what YAML makes of the bare word
        converted = _CONVERT[self.kind](value)
        if _is_whole(converted) and self.maximum is None and converted > _LARGEST:
            raise ValueError(f"must be {self._noun()} <= {_LARGEST}, got {shown(value)}")
        if converted is None or not self._holds(converted):
            meant = _meant(value, self.choices)
            raise ValueError(f"must be {self.rule()}, got {shown(value)}{meant}")
        return converted

    def _holds(self, value: Value) -> bool:
        if self.choices:
            return value in self.choices
        if not isinstance(value, int | float) or isinstance(value, bool):
            return True
        return (
            value == value
            and abs(value) != float("inf")
            and (self.minimum is None or value >= self.minimum)
            and (self.above is None or value > self.above)
            and (self.maximum is None or value <= self.maximum)
        )

    def rule(self) -> str:
        """The values it takes, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.kind in _CHECKS:
            return _CHECKS[self.kind][0]
        bounds = [
            f"{sign} {bound}"
            for sign, bound in ((">=", self.minimum), (">", self.above), ("<=", self.maximum))
            if bound is not None
        ]
        return " ".join([self._noun(), " and ".join(bounds)]).strip()

    def _noun(self) -> str:
        return {
            "int": "a whole number",
            "float": "a number",
            "bool": "true or false",
            "text": "a line of text",
            "share": "auto or a number",
            "amount": "all or a whole number",
        }[self.kind]


_WIDEST = 100_000
_WIDTHS_RULE = (
    f"auto, paper, matched or a list of whole numbers from 1 to {_WIDEST}, one per layer, as in "
    "[122,122]"
)


def _check_widths(value: object) -> Value:
    if isinstance(value, str):
        if value in WIDTH_RULES:
            return value
        raise ValueError(f"must be {_WIDTHS_RULE}, got {shown(value)}{_meant(value, WIDTH_RULES)}")
    if isinstance(value, Sequence) and value and all(_is_width(width) for width in value):
        return tuple(value)
    raise ValueError(f"must be {_WIDTHS_RULE}, got {shown(value)}")


_CORPUS_RULE = (
    f"one of {', '.join(CORPORA)}, or the path of a folder or archive of MIDI files, or of a .mat "
    "file with rolls as in Nottingham.mat"
)


def _check_corpus(value: object) -> Value:
    """A name as it is, a path made absolute: an exported file is used from other folders too."""
    if value in CORPORA:
        return str(value)
    if isinstance(value, str) and value:
        path = Path(check_path(value))
        if path.exists() or any(sign in value for sign in "/.~"):
            return str(path.absolute())
    raise ValueError(f"must be {_CORPUS_RULE}, got {shown(value)}{_meant(value, CORPORA)}")


_PATH_RULE = "a path"
# Of one part of a path and of the whole, in bytes; file systems take no more.
_LONGEST_PART, _LONGEST_PATH = 200, 1000


def check_path(value: object) -> str:
    """A path on a file system, with the user's home folder in the place of ``~``.

    Raises:
        ValueError: the rule that it breaks, without the key's name.
    """
    text = _to_text(value)
    if text is None:
        raise ValueError(f"must be {_PATH_RULE}, got {shown(value)}")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise ValueError(
            f"must be {_PATH_RULE}, got the address {shown(text)}: there is no remote storage yet; "
            "mount it and give its folder"
        )
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise ValueError(
            f"must be {_PATH_RULE}, got {shown(text)}: there is no such user; write the folder"
        ) from None
    parts = [len(part.encode(errors="replace")) for part in path.parts]
    if max(parts, default=0) > _LONGEST_PART or sum(parts) > _LONGEST_PATH:
        raise ValueError(f"must be {_PATH_RULE}, got one that is too long; choose a shorter one")
    return str(path)


def _check_file(value: object) -> str:
    """A path made absolute: exported with what was trained on it, it is used elsewhere too."""
    return str(Path(check_path(value)).absolute())


_LINE_RULE = "a line of text"


def _check_line(value: object) -> str:
    """Words as they are typed, of any language."""
    text = _to_text(value)
    if text is None or not text.strip():
        raise ValueError(f"must be {_LINE_RULE}, got {shown(value)}")
    return text


_NAME_RULE = "at most 100 letters, digits and . _ -, beginning with no dot or dash"


def _check_name(value: object) -> str:
    """A name of a folder, the same on all file systems."""
    text = _to_text(value)
    if text is None or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", text):
        raise ValueError(f"must be {_NAME_RULE}, got {shown(value)}")
    return text


_CHECKS: Mapping[str, tuple[str, Callable[[object], Value]]] = {
    "widths": (_WIDTHS_RULE, _check_widths),
    "corpus": (_CORPUS_RULE, _check_corpus),
    "path": (_PATH_RULE, check_path),
    "file": (_PATH_RULE, _check_file),
    "name": (_NAME_RULE, _check_name),
    "line": (_LINE_RULE, _check_line),
}


def _is_width(value: object) -> bool:
    return _is_whole(value) and 1 <= value <= _WIDEST


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _to_int(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if _is_whole(value) else None


def _to_float(value: object) -> float | None:
    if _is_whole(value):
        # Python refuses to make a float of an integer beyond the largest float.
        return float(value) if value.bit_length() < 1000 else math.inf
    return value if isinstance(value, float) else None


def _to_bool(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _to_text(value: object) -> str | None:
    # A study may well be called 2026 or true; the grammar reads those as other types.
    text = str(value) if isinstance(value, str | int | float) else ""
    return text if text and text.isprintable() else None


def _to_share(value: object) -> float | str | None:
    return "auto" if value == "auto" else _to_float(value)


def _to_amount(value: object) -> int | str | None:
    return "all" if value == "all" else _to_int(value)


_CONVERT = {
    "share": _to_share,
    "amount": _to_amount,
    "int": _to_int,
    "float": _to_float,
    "bool": _to_bool,
    "text": _to_text,
}


def _tasks(fits: Callable[[TaskEntry], bool]) -> tuple[str, ...]:
    return tuple(name for name, entry in TASKS.items() if fits(entry))


_GENERATED = _tasks(lambda entry: entry.data == "generated")
_LOADED = _tasks(lambda entry: entry.data != "generated")
_ON_FILES = _tasks(lambda entry: bool(entry.files))
_MUSIC = _tasks(lambda entry: entry.data == "corpus")
_PAIRS = _tasks(lambda entry: entry.data == "pairs")
_WORDS = _tasks(lambda entry: entry.writes in ("text", "translation"))
# Over three hours of sixteenth notes, as the longest tune that is read.
_LONGEST_WRITTEN = 100_000
_MINIMISED = _tasks(lambda entry: entry.direction == "minimize")

_TABLE = (
    Key("task", "text", "the task", ON_RAY | {"data"}, listable=True, choices=tuple(TASKS)),
    Key("model", "text", "the recurrent network", ON_RAY, listable=True, choices=tuple(MODELS)),
    Key(
        "depth",
        "int",
        "layers (RHN: of the recurrence); null: the paper's shallowest for the task and model",
        ON_RAY,
        listable=True,
        optional=True,
        minimum=1,
        maximum=100,
    ),
    Key("table", "int", "a table of the paper", SELECTED, listable=True, minimum=1, maximum=7),
    Key("figure", "int", "a figure of the paper", SELECTED, listable=True, minimum=2, maximum=4),
    Key(
        "source",
        "text",
        "whose settings: the paper's, the authors' release's, or the best that was found",
        SELECTED,
        listable=True,
        choices=SOURCES,
    ),
    Key(
        "cell",
        "line",
        "a cell of a table or figure, table-3/dmu-d1 or table-3/dmu-d1/released; report: lists its "
        "recorded runs; reproduce: trains some of them again and says whether they come out equal",
        SELECTED,
    ),
    Key("runs", "int", "of the cell: how many to train again", frozenset({"reproduce"}), minimum=1),
    Key(
        "plan_only",
        "bool",
        "write the plan to a file, to be carried out on a machine that has only torch",
        frozenset({"reproduce"}),
    ),
    Key(
        "short",
        "bool",
        "train each setting that is recorded in `records` for a few epochs only, with seeds of its "
        "own, and say whether it agrees",
        frozenset({"reproduce"}),
    ),
    Key(
        "config",
        "path",
        "train and generate: the exported or hand-written file; tune: your own settings and "
        "distributions, over those of search_spaces/",
        SEARCHED | WRITES | {"train"},
    ),
    Key(
        "config_dir",
        "path",
        "a folder of your own files laid out as search_spaces/, over those; also --config-dir DIR",
        SEARCHED,
    ),
    Key(
        "tune",
        "path",
        "a MIDI file to go on from; else a tune of the test split, drawn with the seed",
        WRITES,
        tasks=_MUSIC,
    ),
    Key(
        "prompt_steps",
        "int",
        "first steps of the tune that are given; else the whole file, or 64 steps of a test tune",
        WRITES,
        minimum=1,
        maximum=_LONGEST_WRITTEN,
        tasks=_MUSIC,
    ),
    Key(
        "text",
        "line",
        "words to go on from; a sentence to translate, else one is read per line of standard input",
        WRITES,
        tasks=_WORDS,
    ),
    Key(
        "length",
        "int",
        "steps to add, else 128; words to add, else 50; most words of a translation, else as many "
        "as the longest in training has",
        WRITES,
        minimum=1,
        maximum=_LONGEST_WRITTEN,
    ),
    Key(
        "temperature",
        "float",
        "divides the logits: 0 writes what is most probable, 1 draws as the network expects (for a "
        "translation 0, else 1)",
        WRITES,
        minimum=0,
        maximum=100,
    ),
    Key(
        "beam",
        "int",
        "translations followed side by side, else 1; the best mean log-probability per word wins",
        WRITES,
        minimum=1,
        maximum=1000,
        tasks=_PAIRS,
    ),
    Key(
        "seed",
        "int",
        "of all that is drawn, else 0",
        WRITES,
        minimum=0,
        maximum=2**31 - 1,
    ),
    Key(
        "generated_dir",
        "path",
        "folder of MIDI files and pictures, else generated/ in output_dir",
        WRITES,
        tasks=_MUSIC,
    ),
    Key(
        "resume",
        "name",
        "latest, or the name of a study, to resume it; auto: begin the studies of name=NAME, or "
        "resume them",
        TUNE,
        optional=True,
    ),
    Key("name", "name", "of the study; several studies get their title added", TUNE),
    Key(
        "screen",
        "text",
        "normal; quiet: warnings and results only; verbose: a line for every epoch; also --quiet "
        "and --verbose",
        TUNE,
        choices=("normal", "quiet", "verbose"),
    ),
    Key(
        "study",
        "name",
        "a study to look at instead of the machine: what is damaged is mended",
        frozenset({"doctor"}),
    ),
    Key("yes", "bool", "delete without asking", frozenset({"studies"})),
    Key(
        "records",
        "path",
        "folder of recorded runs, as JSON lines or compact; for report in the place of records/ in "
        "output_dir, for reproduce beside it: what is there is not trained again",
        frozenset({"report", "reproduce"}),
        optional=True,
    ),
    Key(
        "compact",
        "path",
        "folder that gets the ended runs, and the trials of ended searches in output_dir, in "
        "compact form beside those it has; null: none",
        frozenset({"report"}),
        optional=True,
    ),
    Key(
        "report_dir",
        "path",
        "folder of the report; null: report/ in output_dir",
        frozenset({"report"}),
        optional=True,
    ),
    Key("output_dir", "path", "folder of all results", EVERYWHERE),
    Key("network.widths", "widths", _WIDTHS_RULE),
    Key(
        "network.z_bias",
        "float",
        "added to the biases that produce z_t at initialisation",
        searchable=True,
        models=("dmu",),
    ),
    Key(
        "network.initialisation",
        "text",
        "of the recurrent block; released: xavier for DMU, pytorch (as torch.nn.Linear) for RHN",
        searchable=True,
        choices=("released", "xavier", "pytorch"),
        models=("dmu", "rhn"),
    ),
    Key("training.learning_rate", "float", "of Adam", searchable=True, above=0),
    Key("training.weight_decay", "float", "coupled L2 of Adam", searchable=True, minimum=0),
    Key(
        "training.gamma",
        "float",
        "factor on the learning rate after each epoch",
        searchable=True,
        above=0,
        maximum=1,
    ),
    Key(
        "training.batch_size",
        "int",
        "sequences per batch (natlang: parallel streams)",
        searchable=True,
        minimum=1,
    ),
    Key("training.max_epochs", "int", "epochs of one training", minimum=1),
    Key(
        "training.block_learning_rate_rule",
        "text",
        "learning rate of the DMU block: lr / (depth + 1 - layer), lr / (2 depth), or lr * ratio",
        searchable=True,
        choices=("paper", "released", "ratio"),
        models=("dmu",),
    ),
    Key(
        "training.block_learning_rate_ratio",
        "float",
        "the ratio of the rule ratio",
        searchable=True,
        above=0,
        models=("dmu",),
        only_if=("training.block_learning_rate_rule", "ratio"),
    ),
    Key(
        "training.scale_block_weight_decay",
        "bool",
        "whether the block's weight decay follows its learning rate",
        searchable=True,
        models=("dmu",),
    ),
    Key(
        "training.gradient_clipping",
        "text",
        "off, or norm: a replica's gradient, all weights together, is scaled down to a norm",
        searchable=True,
        choices=CLIPPINGS,
    ),
    Key(
        "training.gradient_clip_norm",
        "float",
        "the largest norm of the gradient of a replica, with training.gradient_clipping=norm",
        searchable=True,
        above=0,
        only_if=("training.gradient_clipping", "norm"),
    ),
    Key(
        "training.teacher_forcing_ratio",
        "float",
        "probability that the decoder reads the right words in training, not its own",
        searchable=True,
        minimum=0,
        maximum=1,
        tasks=_PAIRS,
    ),
    Key(
        "training.teacher_forcing_draw",
        "text",
        "what that is drawn for: a whole batch, or each of its steps, as released",
        choices=FORCING_DRAWS,
        tasks=_PAIRS,
    ),
    Key(
        "training.stop_below",
        "float",
        "validation objective below which training is finished; null: none",
        optional=True,
        above=0,
        tasks=_MINIMISED,
    ),
    Key(
        "training.stop_patience",
        "int",
        "epochs in a row below training.stop_below that it takes",
        minimum=1,
        tasks=_MINIMISED,
    ),
    Key("training.replicas", "int", "independently seeded copies trained together", minimum=1),
    Key(
        "training.seed",
        "int",
        "seed of replica 0; replica i has seed + i",
        minimum=0,
        maximum=2**31 - 1,
    ),
    Key("search.trials", "int", "trials of a study, warm starts included", SEARCHED, minimum=1),
    Key(
        "search.objective",
        "text",
        "what a trial is judged by: the best validation results of its training.replicas as one",
        SEARCHED,
        choices=OBJECTIVES,
    ),
    Key(
        "search.sampler",
        "text",
        "who proposes settings: auto (gp), gp, tpe, qmc or random",
        SEARCHED,
        choices=("auto", "gp", "tpe", "qmc", "random"),
    ),
    Key(
        "search.startup_trials",
        "int",
        "trials before the sampler learns from results",
        SEARCHED,
        minimum=1,
    ),
    Key(
        "search.scheduler",
        "text",
        "who goes on: promotion (the best of each rung), asha (the others stop) or none (all)",
        SEARCHED,
        choices=("promotion", "asha", "none"),
    ),
    Key(
        "search.grace_epochs",
        "int",
        "epochs before the first rung; null: a hundredth of training.max_epochs",
        SEARCHED,
        optional=True,
        minimum=1,
    ),
    Key(
        "search.reduction_factor",
        "int",
        "one trial in this many goes on from each rung",
        SEARCHED,
        minimum=2,
    ),
    Key(
        "search.max_concurrent",
        "int",
        "trials at a time; null: as many as the resources carry",
        SEARCHED,
        optional=True,
        minimum=1,
    ),
    Key(
        "search.time_budget_s",
        "float",
        "seconds after which the studies of this command stop; null: none",
        SEARCHED,
        optional=True,
        above=0,
        maximum=10**9,
    ),
    Key("search.seed", "int", "seed of the sampler", SEARCHED, minimum=0, maximum=2**32 - 1),
    Key(
        "search.warm_start",
        "text",
        "first trials: paper (and released) settings, none, or study:NAME for its best three",
        SEARCHED,
    ),
    Key(
        "search.prior",
        "text",
        "good guesses to begin near: paper (and released), none, or a YAML file with values of "
        "searched keys, such as an exported one; only the sampler gp uses them",
        SEARCHED,
    ),
    Key(
        "search.patience_trials",
        "int",
        "end the search when so many trials begun after the best one were no better; null: never",
        SEARCHED,
        optional=True,
        minimum=1,
    ),
    Key(
        "search.target",
        "float",
        "end the search when a trial's objective is as good as this; null: never",
        SEARCHED,
        optional=True,
    ),
    Key(
        "search.finalists",
        "int",
        "best settings, the paper's among them, trained over fresh seeds after the search; 0: none",
        SEARCHED,
        minimum=0,
    ),
    Key(
        "search.finalist_seeds",
        "int",
        "fresh seeds of each, trained as replicas; fewer where search.finalist_share is used up",
        SEARCHED,
        minimum=2,
    ),
    Key(
        "search.finalist_share",
        "float",
        "epochs of all finalists and seeds together, at most, as a share of those of the search",
        SEARCHED,
        above=0,
    ),
    Key(
        "search.checkpoint_every_s",
        "float",
        "seconds between the checkpoints of a trial",
        SEARCHED,
        minimum=0,
    ),
    Key(
        "search.checkpoint_mb",
        "float",
        "MB for the checkpoints of a study; beyond, trials keep one, weak paused ones none",
        SEARCHED,
        above=0,
    ),
    Key(
        "search.min_free_mb",
        "float",
        "MB of free disk below which a study stops in order, to be resumed when there is space",
        SEARCHED,
        minimum=0,
    ),
    Key(
        "search.page",
        "bool",
        "write study.html, plots/ and the description in MLflow while the search runs",
        SEARCHED,
    ),
    Key(
        "resources.gpus_per_trial",
        "share",
        "share of a GPU for one trial; auto: measured where there is a GPU",
        ON_RAY,
        minimum=0,
    ),
    Key(
        "resources.cpus_per_trial",
        "share",
        "CPU cores for one trial; auto: 1, or an even share when GPUs carry more trials than cores",
        ON_RAY,
        above=0,
    ),
    Key("resources.cpus", "int", "CPU cores to use; null: all", ON_RAY, optional=True, minimum=1),
    Key(
        "resources.gpus",
        "int",
        "GPUs to use; null: those that Ray finds",
        ON_RAY,
        optional=True,
        minimum=0,
    ),
    Key(
        "resources.object_store_mb",
        "int",
        "Ray's shared memory on this machine, in MB",
        ON_RAY,
        minimum=80,
    ),
    Key(
        "resources.address",
        "text",
        "of a running Ray cluster (auto: this machine's); null: start Ray here",
        ON_RAY,
        optional=True,
    ),
    Key(
        "resources.min_gpus",
        "int",
        "GPUs without which nothing starts; null: the CPU will do",
        ON_RAY,
        optional=True,
        minimum=1,
    ),
    Key(
        "resources.wait_s",
        "float",
        "seconds to wait for resources.min_gpus, as for machines that have not joined yet",
        ON_RAY,
        minimum=0,
    ),
    Key(
        "tracking.uri",
        "text",
        "MLflow's store or server; null: sqlite in output_dir; none: records only",
        CONFIGURED | {"sync", "doctor"},
        optional=True,
    ),
    Key("tracking.experiment", "text", "MLflow's experiment", CONFIGURED | {"sync"}),
    Key(
        "data.root",
        "path",
        "cache of data files; null: the user's cache",
        DATA | WRITES,
        optional=True,
        tasks=_ON_FILES,
    ),
    Key(
        "data.mirror",
        "path",
        "folder that already has the files; null: $DMU_SEARCH_DATA_MIRROR",
        DATA | WRITES,
        optional=True,
        tasks=_ON_FILES,
    ),
    Key(
        "data.corpus",
        "corpus",
        "which music: auto falls back to demo",
        DATA,
        tasks=_MUSIC,
    ),
    Key(
        "data.step",
        "text",
        "note value of a time step, for corpora read from MIDI files only",
        DATA,
        choices=STEPS,
        tasks=_MUSIC,
    ),
    Key(
        "data.transpose",
        "bool",
        "whether tunes are moved to C major or A minor, for corpora read from MIDI files only",
        DATA,
        tasks=_MUSIC,
    ),
    Key(
        "data.limit",
        "int",
        "first so many sequences (natlang: lines) of each split only; null: all",
        optional=True,
        minimum=1,
        tasks=_LOADED,
    ),
    Key(
        "data.whole_chunks",
        "bool",
        "leave out the words of each split that fill no 32 chunks of 100, as released",
        tasks=_tasks(lambda entry: entry.engine == "natlang"),
    ),
    Key(
        "data.pairs",
        "amount",
        "first sentence pairs of the file only, before they are split; vocabularies are the file's",
        minimum=7,
        tasks=_PAIRS,
    ),
    Key(
        "data.pairs_file",
        "file",
        "your own file of sentence pairs, as of manythings.org/anki; null: that of the task",
        optional=True,
        tasks=_PAIRS,
    ),
    Key(
        "data.length",
        "int",
        "steps of the shortest sequences that are made",
        minimum=12,
        tasks=_GENERATED,
    ),
    Key(
        "data.batches_per_epoch",
        "int",
        "batches of fresh sequences in an epoch",
        minimum=1,
        tasks=_GENERATED,
    ),
    Key(
        "data.noise",
        "text",
        "fresh in every sequence, as released, or fixed for all, as in the paper",
        choices=NOISES,
        tasks=_tasks(lambda entry: entry.engine == "noiseseq"),
    ),
)

KEYS: dict[str, Key] = {key.name: key for key in _TABLE}


def keys_of(command: str) -> dict[str, Key]:
    """The keys that ``command`` takes, by name."""
    return {name: key for name, key in KEYS.items() if command in key.commands}


def shown(value: object) -> str:
    """A value as a message quotes it, shortened."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


# Names that other libraries and papers have: the key, or why there is none.
SYNONYMS: Mapping[str, str] = {
    "lr": "training.learning_rate",
    "eta": "training.learning_rate",
    "step_size": "training.learning_rate",
    "wd": "training.weight_decay",
    "l2": "training.weight_decay",
    "bs": "training.batch_size",
    "batch": "training.batch_size",
    "epochs": "training.max_epochs",
    "num_epochs": "training.max_epochs",
    "n_epochs": "training.max_epochs",
    "lr_decay": "training.gamma",
    "clip": "training.gradient_clip_norm",
    "grad_clip": "training.gradient_clip_norm",
    "max_grad_norm": "training.gradient_clip_norm",
    "n_seeds": "training.replicas",
    "random_state": "training.seed",
    "layers": "depth",
    "num_layers": "depth",
    "n_layers": "depth",
    "hidden": "network.widths",
    "hidden_size": "network.widths",
    "units": "network.widths",
    "init": "network.initialisation",
    "n_trials": "search.trials",
    "num_samples": "search.trials",
    "timeout": "search.time_budget_s",
    "workers": "search.max_concurrent",
    "n_jobs": "search.max_concurrent",
    "pruner": "search.scheduler",
    "metric": "search.objective",
    "gpus": "resources.gpus",
    "cpus": "resources.cpus",
    "dataset": "task",
    "cell": "model",
    "out": "output_dir",
    "output": "output_dir",
    "optimizer": "every network is trained by Adam",
    "optimiser": "every network is trained by Adam",
    "dropout": "no network here has dropout",
}


def key_meant(name: str, known: Iterable[str]) -> str:
    """As ``did_you_mean``, for keys: also by their last part alone, and by what others call them.

    Args:
        name: what was written.
        known: keys to choose from.
    """
    keys = list(known)
    last = name.rpartition(".")[2].lower().replace("-", "_")
    same = [key for key in keys if key.rpartition(".")[2] == last]
    meant = same[0] if len(same) == 1 else SYNONYMS.get(last, "")
    if meant in KEYS:
        return f" (did you mean {meant}?)" if meant in keys else did_you_mean(name, keys)
    if meant:
        return f" ({meant})"
    return f" (did you mean {' or '.join(same)}?)" if same else did_you_mean(name, keys)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean X?)``, or nothing when no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""


def _meant(value: object, choices: Iterable[str]) -> str:
    return did_you_mean(str(value), choices)
