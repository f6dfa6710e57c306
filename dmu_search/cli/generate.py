"""The command ``generate``: what a trained network writes."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import torch

from dmu_search.cli.screen import open_console, print_rows, print_warning
from dmu_search.config.grammar import parse_overrides
from dmu_search.config.keys import KEYS, Value
from dmu_search.config.roots import default_of
from dmu_search.data import Data
from dmu_search.data.corpus import Corpus
from dmu_search.data.loading import load_data
from dmu_search.data.midi import WHOLE_NOTE_S, Reading, midi_content, read_midi
from dmu_search.data.pairs import PairCorpus, tokens_of
from dmu_search.data.treebank import Treebank
from dmu_search.engine.networks.module import TrainedNetwork
from dmu_search.engine.tasks.polymusic import Roll
from dmu_search.errors import ConfigError, DataError
from dmu_search.exit_codes import DONE
from dmu_search.folders import OutputFolder, check_writable, write_whole
from dmu_search.generation.music import begun_before, continue_roll, notes_of
from dmu_search.generation.text import UNKNOWN, as_lines, continue_words, known_words
from dmu_search.generation.translation import draw_translation, translate
from dmu_search.names import TASKS
from dmu_search.report.piano_roll import piano_roll_picture
from dmu_search.retraining.exported import RunFile, read_run_file
from dmu_search.retraining.trained import trained_network

STEPS, WORDS, PROMPT_STEPS = 128, 50, 64


@dataclass(frozen=True)
class _Wish:
    """What to let a network write.

    Attributes:
        given: of the command line.
        file: what was trained.
        network: with its weights.
        folder: that these come from.
        output_dir: of all results.
        dry_run: whether nothing is to be written.
    """

    given: Mapping[str, Value]
    file: RunFile
    network: TrainedNetwork
    folder: Path
    output_dir: Path
    dry_run: bool

    @property
    def title(self) -> str:
        """Task, model and depth."""
        return f"{self.file.task}-{self.file.model}-d{self.file.depth}"

    @property
    def seed(self) -> int:
        """Of everything that is drawn."""
        return cast(int, self.given.get("seed", 0))

    def length(self, otherwise: int) -> int:
        """Steps or words, if they are given."""
        return cast(int, self.given.get("length", otherwise))

    def temperature(self, otherwise: float) -> float:
        """That of the command line, or the task's."""
        return cast(float, self.given.get("temperature", otherwise))

    def generator(self) -> torch.Generator:
        """A new one, of the seed."""
        return torch.Generator().manual_seed(self.seed)

    def data(self) -> Data:
        """What the network was trained on, with a warning where that has changed."""
        places = {name: value for name, value in self.given.items() if name.startswith("data.")}
        data = load_data(self.file.task, self.file.data_with(places))
        changed = self.file.data_sha256 not in (None, data.sha256)
        _warn(
            data.warning,
            f"{data.name}: the data has changed since this setting was found" if changed else None,
        )
        return data


def generate(words: Sequence[str], *, dry_run: bool) -> int:
    """Run the command; returns its exit code.

    Raises:
        DmuSearchError: bad input, found before anything is written.
    """
    given = cast(dict[str, Value], parse_overrides("generate", words))
    path = given.pop("config", None)
    if path is None:
        example = OutputFolder(Path(str(default_of("output_dir")))).best / "polymusic/dmu-d1.yaml"
        raise ConfigError(
            f"config: generate needs a file, as in generate config={example}; tune writes one"
        )
    file = read_run_file(Path(str(path)))
    _check(file, given)
    output_dir = Path(str(given.get("output_dir", default_of("output_dir"))))
    network, folder = trained_network(Path(str(path)), output_dir)
    wish = _Wish(given, file, network, folder, output_dir, dry_run)
    _WRITERS[str(TASKS[file.task].writes)](wish)
    return DONE


def _check(file: RunFile, given: Mapping[str, Value]) -> None:
    """Raise a ConfigError unless the task writes, and has all that is given."""
    if TASKS[file.task].writes is None:
        able = ", ".join(name for name, entry in TASKS.items() if entry.writes is not None)
        raise ConfigError(
            f"config: a network of {file.task} answers questions and has nothing to write; "
            f"generate takes those of {able}"
        )
    faults = [
        f"{name}: {reason} in the file"
        for name in given
        if (reason := KEYS[name].misplaced([file.task], [file.model])) is not None
    ]
    if cast(int, given.get("beam", 1)) > 1 and given.get("temperature", 0) != 0:
        faults.append(
            "beam: finds what is most probable and draws nothing, so it goes with temperature=0; "
            "leave one of them out"
        )
    if faults:
        raise ConfigError(*faults)


def _warn(*sentences: str | None) -> None:
    """Say on standard error what the user has to know, so that standard output is text alone."""
    for sentence in filter(None, sentences):
        print_warning(open_console(sys.stderr), sentence)


def _music(wish: _Wish) -> None:
    """Go on with a tune: a MIDI file, and a picture of it."""
    folder = Path(str(wish.given.get("generated_dir", OutputFolder(wish.output_dir).generated)))
    check_writable(folder)
    settings = wish.file.data
    note_value = Fraction(settings.needed("step"))
    generator = wish.generator()
    name, prompt = _prompt(
        wish, Reading(note_value, settings.needed("transpose")), generator=generator
    )
    steps, temperature = wish.length(STEPS), wish.temperature(1.0)
    rows = {
        "weights": str(wish.folder),
        "prompt": f"{name}, steps 1 to {len(prompt)}",
        "adds": f"steps up to {len(prompt) + steps}, temperature {temperature:g}, seed {wish.seed}",
    }
    print_rows(open_console(), rows)
    if wish.dry_run:
        return
    added = continue_roll(
        wish.network, prompt, steps=steps, temperature=temperature, generator=generator
    )
    picture = piano_roll_picture(
        prompt,
        added,
        step_s=WHOLE_NOTE_S * float(note_value),
        title=f"{name}, continued by {wish.file.model.upper()} of depth {wish.file.depth} "
        f"(temperature {temperature:g}, seed {wish.seed})",
    )
    voices = begun_before(notes_of(np.concatenate([prompt, added])), len(prompt))
    midi = midi_content(voices, names=("prompt", "continuation"), note_value=note_value)
    stem = f"{wish.title}-{name.replace(' ', '-')}-seed{wish.seed}-t{temperature:g}"
    for suffix, content in ((".mid", midi), (".png", picture)):
        write_whole(folder / f"{stem}{suffix}", content)
    print_rows(
        open_console(),
        {
            "density": f"{prompt.sum() / len(prompt):.2f} notes per step in the prompt, "
            f"{added.sum() / len(added):.2f} in what was added",
            "MIDI": str(folder / f"{stem}.mid"),
            "picture": str(folder / f"{stem}.png"),
        },
    )


def _prompt(wish: _Wish, reading: Reading, *, generator: torch.Generator) -> tuple[str, Roll]:
    """The beginning to go on from, and its name in words."""
    first = cast(int | None, wish.given.get("prompt_steps"))
    if "tune" in wish.given:
        path = Path(str(wish.given["tune"]))
        return path.stem, read_midi(path, reading)[:first]
    corpus = wish.data()
    assert isinstance(corpus, Corpus), "music is of a corpus"
    tunes = corpus.rolls.test
    number = int(torch.randint(len(tunes), (), generator=generator))
    return f"test tune {number}", tunes[number][: first or PROMPT_STEPS]


def _text(wish: _Wish) -> None:
    """Go on with a text, on standard output."""
    data = wish.data()
    assert isinstance(data, Treebank), "text is of a treebank"
    prompt, unknown = known_words(str(wish.given.get("text", "")), data.vocabulary)
    if unknown and UNKNOWN not in data.vocabulary:
        raise ConfigError(
            f"text: the network knows no {_quoted(unknown)}; use words of the training text"
        )
    if unknown:
        _warn(f"text: the network knows no {_quoted(unknown)}; it reads {UNKNOWN} in the place")
    if wish.dry_run:
        return
    added = continue_words(
        wish.network,
        data.vocabulary,
        prompt=prompt,
        count=wish.length(WORDS),
        temperature=wish.temperature(1.0),
        generator=wish.generator(),
    )
    print(as_lines([*prompt, *added]))


def _translation(wish: _Wish) -> None:
    """Translate, one line of standard output for each sentence."""
    data = wish.data()
    assert isinstance(data, PairCorpus), "translation is of pairs"
    own, there = wish.network.description, data.pairs.vocabulary
    if (own["source"], own["target"]) != (there.source, there.target):
        raise DataError(
            f"{data.source}: has {there.source} words to {there.target}, but the network was "
            f"trained on {own['source']} to {own['target']}; put that file back"
        )
    if wish.dry_run:
        return
    numbers = {word: number for number, word in enumerate(data.source_words)}
    speak = _speaker(wish, int(data.pairs.train.target.lengths.max()) - 1)
    for number, sentence in enumerate(_sentences(wish.given), start=1):
        tokens = tokens_of(sentence)
        source = [numbers[token] for token in tokens if token in numbers]
        if unknown := [token for token in dict.fromkeys(tokens) if token not in numbers]:
            rest = "it reads the rest" if source else "the line stays empty"
            _warn(f"line {number}: the network knows no {_quoted(unknown)}; {rest}")
        print(data.text(speak(source)) if source else "", flush=True)


def _speaker(wish: _Wish, longest: int) -> Callable[[Sequence[int]], tuple[int, ...]]:
    """What translates one sentence after the other."""
    temperature, generator = wish.temperature(0.0), wish.generator()
    longest, beam = wish.length(longest), cast(int, wish.given.get("beam", 1))

    def speak(source: Sequence[int]) -> tuple[int, ...]:
        if temperature == 0:
            return translate(wish.network, source, beam=beam, longest=longest).words
        return draw_translation(
            wish.network, source, temperature=temperature, longest=longest, generator=generator
        ).words

    return speak


def _sentences(given: Mapping[str, Value]) -> Iterator[str]:
    """The sentence of the command line, or the lines of standard input."""
    if "text" in given:
        yield str(given["text"])
        return
    if sys.stdin.isatty():
        print("a sentence per line, Ctrl-D ends:", file=sys.stderr)
    try:
        yield from sys.stdin
    except UnicodeDecodeError:
        raise ConfigError("standard input: is no text in UTF-8; convert it") from None


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(map(repr, words))


# By what the row of a task names; see `dmu_search.names.TaskEntry.writes`.
_WRITERS: Mapping[str, Callable[[_Wish], None]] = {
    "music": _music,
    "text": _text,
    "translation": _translation,
}
