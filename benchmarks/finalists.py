"""Simulated studies whose winners are trained on: see docs/search.md, "Winners that stay winners".

python benchmarks/finalists.py --work FOLDER --csv FILE [--parts adding-dmu,..] [--studies 8]
    [--first 0] [--finalist-seeds 5] [--further-seeds 30]

Each study searches one seed of our table, as a product's study with its defaults does. Its
finalists are really trained, the product decides, and the winner and the paper's setting are
trained over further seeds. FOLDER keeps every training, so that the same command resumes what was
cut off. FILE gets a row per study.
"""

import argparse
import csv
import math
import os
import statistics
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

# One thread everywhere, also in libraries that look before torch can tell them.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import numpy as np
import torch
from record_table import append, drop_cut_off, read_lines
from simulation.cluster import Cluster
from simulation.contenders import ProductSearch
from simulation.problems import Training
from simulation.recordings import RECORDINGS, Recording, train
from simulation.tables import Recorded, Table

from dmu_search.config.keys import Value
from dmu_search.results.statistics import share
from dmu_search.retraining.finalists import estimates_of
from dmu_search.study.finalists import FinalistRule
from dmu_search.study.search_study import SearchStudy
from dmu_search.study.trials import Finalists

PARTS = ("adding-dmu", "adding-gru", "tempord-dmu", "tempord-gru")
WORKERS = 4
# A program of many replicas costs less than two of half as many: so small gaps are trained too.
_SMALL_GAP = 6
# A mean has no deviation below two seeds.
_FEWEST = 2
# More than all finalists need.
_ANY_SHARE = 1e6


class Answers:
    """A search's view of a table: its published settings as themselves, else the nearest other.

    Args:
        table: one seed of a part.

    Attributes:
        given: the settings, in the order of the trials.
    """

    def __init__(self, table: Table) -> None:
        self._seed = table.seed
        self._run = table.begin()
        self._published = [each for each in table.settings if each.source != "random"]
        self.given: list[Recorded] = []

    def train(self, values: Mapping[str, Value]) -> Training | None:
        """The recorded training; None once every setting is used."""
        published = [each for each in self._published if each.values == values]
        recorded = published[0] if published else self._run.answer(values)
        if recorded is None:
            return None
        self.given.append(recorded)
        return recorded.training(self._seed)


class Trainings:
    """Trainings of a part over fresh seeds, kept in a file as they end.

    Args:
        file: one program a line.
        recording: of the part.
    """

    def __init__(self, file: Path, recording: Recording) -> None:
        self._file, self._recording, self._task = file, recording, recording.make_task()
        self._known: dict[tuple[int, int], float] = {}
        for line in _lines(file):
            self._take_in(line)

    def train(self, setting: Recorded, seeds: Collection[int]) -> None:
        """Train the seeds that are missing; neighbours side by side as one program."""
        missing = sorted(seed for seed in seeds if (setting.number, seed) not in self._known)
        for first, last in _spans(missing):
            curves = train(
                self._recording,
                self._task,
                values=setting.values,
                first_seed=first,
                seeds=last - first + 1,
            )
            best = np.fmin.reduce(np.array(curves.losses), axis=1).tolist()
            line = {
                "setting": setting.number,
                "first_seed": first,
                "best": [value if math.isfinite(value) else None for value in best],
            }
            append(self._file, line)
            self._take_in(line)

    def results(self, setting: Recorded, seeds: Iterable[int]) -> tuple[float, ...]:
        """The best validation result of each trained seed; nan where it had none."""
        return tuple(self._known[setting.number, seed] for seed in seeds)

    def _take_in(self, line: Mapping[str, Any]) -> None:
        for seed, value in enumerate(line["best"], start=line["first_seed"]):
            self._known[line["setting"], seed] = math.nan if value is None else value


def _lines(file: Path) -> list[dict[str, Any]]:
    file.parent.mkdir(parents=True, exist_ok=True)
    drop_cut_off(file)
    return read_lines(file)


def _spans(seeds: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of seeds that are trained together."""
    spans: list[tuple[int, int]] = []
    for seed in seeds:
        if spans and seed - spans[-1][1] <= _SMALL_GAP:
            spans[-1] = (spans[-1][0], seed)
        else:
            spans.append((seed, seed))
    return spans


@dataclass(frozen=True)
class Searched:
    """A study whose search is over.

    Attributes:
        study: seed of the search.
        table_seed: that was searched.
        epochs: trained in all.
        paid_seeds: of each finalist, that the product's share of these epochs pays for.
        paid_settings: the same for settings.
        finalists: numbers of their settings, the best of the search first, as if it had been
            long enough to pay for all.
        objectives: what the search saw of them.
    """

    study: int
    table_seed: int
    epochs: int
    paid_seeds: int
    paid_settings: int
    finalists: tuple[int, ...]
    objectives: tuple[float, ...]

    def seeds(self, count: int, after: int) -> range:
        """Of its finalists: so many, and others than those of other studies.

        Args:
            count: of seeds.
            after: first seed of study 0.
        """
        return range(after + self.study * count, after + (self.study + 1) * count)


def search(table: Table, recording: Recording, *, study: int) -> Searched:
    """Search one seed of a table with the product's defaults, to the end."""
    own = recording.study
    settings = replace(
        own,
        fixed={**own.fixed, "training.replicas": 1},
        search=replace(own.search, seed=study),
    )
    answers, product = Answers(table), SearchStudy.of(settings)
    cluster = Cluster(ProductSearch(product), answers, max_epochs=table.max_epochs, workers=WORKERS)
    outcome = cluster.carry_out(settings.search.trials * table.max_epochs)
    assert product.over, "the table has more settings than the study has trials"
    trials = {
        number: replace(trial, values=answers.given[number].values)
        for number, trial in product.trials.items()
    }
    rule = FinalistRule.of(settings)
    paid = rule.select(trials).finalists
    chosen = replace(rule, share=_ANY_SHARE).select(trials).finalists
    assert table.seed is not None
    assert chosen is not None, "a search trains at least one trial to its end"
    return Searched(
        study,
        table.seed,
        outcome.epochs,
        0 if paid is None else paid.seeds,
        0 if paid is None else len(paid.trials),
        tuple(answers.given[number].number for number in chosen.trials),
        tuple(trials[number].objective or math.nan for number in chosen.trials),
    )


@dataclass(frozen=True)
class Row:
    """What became of a study with so many seeds per finalist.

    Attributes:
        part: of the table.
        study: seed of the search.
        table_seed: that it searched.
        epochs: that it trained.
        paid_settings: finalists that the product's share of these epochs pays for.
        paid_seeds: seeds of each.
        seeds: of each finalist, that were trained.
        finalists: numbers of their settings, the best of the search first.
        winner: number of its setting.
        in_search: its value in the search.
        mean: over the finalists' seeds.
        std: the same.
        low: of the interval.
        high: of the interval.
        further_mean: over the further seeds.
        covered: whether the interval holds it.
        first_further_mean: of the search's best setting.
        paper_further_mean: of the paper's setting.
        worse: whether the winner's is above that by more than its interval is above its mean.
    """

    part: str
    study: int
    table_seed: int
    epochs: int
    paid_settings: int
    paid_seeds: int
    seeds: int
    finalists: str
    winner: int
    in_search: float
    mean: float
    std: float
    low: float
    high: float
    further_mean: float
    covered: bool
    first_further_mean: float
    paper_further_mean: float
    worse: bool


class Part:
    """The studies of one part of the table.

    Args:
        table: all seeds of the part.
        recording: of it.
        work: folder of what has ended.
        finalist_seeds: of each finalist.
        further_seeds: of each winner.
    """

    def __init__(
        self,
        table: Callable[[int], Table],
        recording: Recording,
        *,
        work: Path,
        finalist_seeds: int,
        further_seeds: int,
    ) -> None:
        self._table, self._recording = table, recording
        self._settings = {each.number: each for each in table(0).settings}
        self._paper = next(each for each in self._settings.values() if "paper" in each.source)
        self._searches = work / f"{recording.name}.searches.jsonl"
        self._trainings = Trainings(work / f"{recording.name}.jsonl", recording)
        self._finalist_seeds = finalist_seeds
        # Those of the table come first.
        self._further = range(recording.seeds, recording.seeds + further_seeds)

    def carry_out(self, studies: Iterable[int]) -> list[Row]:
        """Search, train what is missing, and decide."""
        searched = self._search(studies)
        wanted: dict[int, set[int]] = {self._paper.number: set(self._further)}
        for each in searched:
            for number in each.finalists:
                wanted.setdefault(number, set()).update(self._seeds_of(each))
        for number, seeds in wanted.items():
            self._trainings.train(self._settings[number], seeds)
        numbers = range(_FEWEST, self._finalist_seeds + 1)
        return [self._row(each, seeds) for each in searched for seeds in numbers]

    def _search(self, studies: Iterable[int]) -> list[Searched]:
        """Searches, each kept as it ends; more settings in the table make another search."""
        done = {(line["settings"], line["study"]): line for line in _lines(self._searches)}
        found = []
        for study in studies:
            key = (len(self._settings), study)
            if key not in done:
                table = self._table(study % self._recording.seeds)
                one = search(table, self._recording, study=study)
                append(self._searches, {"settings": key[0], **asdict(one)})
                found.append(one)
                continue
            known = {name: value for name, value in done[key].items() if name != "settings"}
            lists = {name: tuple(known[name]) for name in ("finalists", "objectives")}
            found.append(Searched(**{**known, **lists}))
        return found

    def _seeds_of(self, searched: Searched) -> range:
        return searched.seeds(self._finalist_seeds, self._further.stop)

    def _row(self, searched: Searched, seeds: int) -> Row:
        """Decide as the product does, then look at what the further seeds say of it."""
        own = self._seeds_of(searched)[:seeds]
        results = {
            number: self._trainings.results(self._settings[number], own)
            for number in searched.finalists
        }
        rule = replace(_rule(self._recording), seeds=seeds)
        winner = rule.winner(Finalists(searched.finalists, own.start, seeds, results))
        assert winner is not None, "every finalist had a seed without a finite result"
        interval = estimates_of(results, rule.direction)[winner]
        assert interval is not None, "a winner has a mean"
        mean, further = interval.value, self._further_mean(winner)
        paper = self._further_mean(self._paper.number)
        return Row(
            part=self._recording.name,
            study=searched.study,
            table_seed=searched.table_seed,
            epochs=searched.epochs,
            paid_settings=searched.paid_settings,
            paid_seeds=searched.paid_seeds,
            seeds=seeds,
            finalists=" ".join(map(str, searched.finalists)),
            winner=winner,
            in_search=dict(zip(searched.finalists, searched.objectives, strict=True))[winner],
            mean=mean,
            std=statistics.stdev(results[winner]),
            low=interval.low,
            high=interval.high,
            further_mean=further,
            covered=interval.low <= further <= interval.high,
            first_further_mean=self._further_mean(searched.finalists[0]),
            paper_further_mean=paper,
            worse=further - paper > interval.high - mean,
        )

    def _further_mean(self, number: int) -> float:
        setting = self._settings[number]
        self._trainings.train(setting, self._further)
        return statistics.fmean(self._trainings.results(setting, self._further))


def _rule(recording: Recording) -> FinalistRule:
    return FinalistRule.of(recording.study)


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    """Write all studies, each with each number of seeds."""
    with file.open("w", newline="") as opened:
        lines = csv.writer(opened, lineterminator="\n")
        lines.writerow([each.name for each in fields(Row)])
        lines.writerows(map(astuple, rows))


def summary(rows: Sequence[Row]) -> str:
    """Coverage, and how winners compare with the paper's setting, by seeds and part."""
    lines = [f"{'seeds':5} {'part':12} studies  covered (95 % interval)  worse than the paper's"]
    for seeds in sorted({row.seeds for row in rows}):
        for part in (*dict.fromkeys(row.part for row in rows), "all"):
            own = [row for row in rows if row.seeds == seeds and part in (row.part, "all")]
            held = share(sum(row.covered for row in own), len(own))
            low, high = 100 * held.low / len(own), 100 * held.high / len(own)
            text = (
                f"{held.value:.0f}, {100 * held.value / len(own):.0f} % ({low:.0f} to {high:.0f})"
            )
            worse = sum(row.worse for row in own)
            lines.append(f"{seeds:5} {part:12} {len(own):7}  {text:23}  {worse}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Carry out what the folder does not hold yet, write the file and sum up."""
    words = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    rows: list[Row] = []
    for name in words.parts.split(","):
        part = Part(
            lambda seed, name=name: Table(f"{name}@{seed}"),
            RECORDINGS[name],
            work=words.work,
            finalist_seeds=words.finalist_seeds,
            further_seeds=words.further_seeds,
        )
        rows += part.carry_out(range(words.first, words.first + words.studies))
        print(f"{name}: {words.studies} studies", flush=True)
    write_rows(words.csv, rows)
    print(summary(rows))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of finished trainings")
    parser.add_argument("--csv", type=Path, required=True, help="a row per study")
    parser.add_argument("--parts", default=",".join(PARTS), help="of the table")
    parser.add_argument("--studies", type=int, default=8, help="of each part")
    parser.add_argument("--first", type=int, default=0, help="seed of the first study")
    parser.add_argument("--finalist-seeds", type=int, default=5)
    parser.add_argument("--further-seeds", type=int, default=30)
    return parser


if __name__ == "__main__":
    sys.exit(main())
