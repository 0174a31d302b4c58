"""What a sweep tries: its file, read and checked with the parsers of the commands that it runs."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias, cast

import qwop_bc
import qwop_finetune
from qwop_cli import CommandError, bundled_file
from qwop_datasets import DatasetError
from qwop_rl_core import CheckpointError, TrainingError

COMMANDS = ("qwop-finetune", "qwop-bc")
READY = ("ppo", "expert-iteration", "dqn", "ddqn", "pqn", "bc")
"""Names of the files in spaces/."""
METRICS = {
    "score": "max",
    "finish_rate": "max",
    "finish_rate_low": "max",
    "mean_distance_m": "max",
    "upright": "max",
    "median_time_s": "min",
    "best_time_s": "min",
    "knee_near": "min",
}
"""Figures of an evaluation that a sweep can optimize, and whether the largest or the smallest is best."""
_RESERVED = ("out", "resume", "force", "logdir", "seed", "minutes", "help")
_PATHS_OF_ITS_OWN = ("out", "logdir", "resume")
_ERRORS = (CommandError, CheckpointError, DatasetError, TrainingError)


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    """Draw the logarithm evenly."""
    whole: bool = False
    """Whole numbers only."""

    @property
    def values(self) -> tuple[Any, ...]:
        """The ends."""
        return self.low, self.high

    def holds(self, value: Any) -> bool:
        """Return whether a value can be drawn."""
        number = isinstance(value, int) or (isinstance(value, float) and not self.whole)
        return number and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choices:
    """One of some values."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Return whether a value can be drawn."""
        return value in self.values


Domain: TypeAlias = Range | Choices


@dataclass(frozen=True)
class Judging:
    """How trials are evaluated, under protocol P. Raises CommandError for a setting out of range."""

    episodes: int = 32
    """Episodes per training and rung."""
    seed: int = 1_000_000
    """Seed of the first one. These seeds are for tuning: results are stated on others."""
    max_seconds: float = 120.0
    """Truncate episodes after this time, s."""
    sample: bool = False
    """Draw actions; otherwise take the most likely ones."""
    test_episodes: int = 100
    """Episodes of the best checkpoint at the end, with seeds from 0 on, as in `qwop-eval`. 0: none."""

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.test_episodes < 0:
            raise CommandError("evaluation: episodes has to be 1 or more, test-episodes 0 or more")
        if self.seed < max(self.test_episodes, 1):
            raise CommandError(
                f"evaluation: seed is {self.seed}: the test episodes have the seeds below "
                f"{max(self.test_episodes, 1)}; choose another one"
            )
        if not 1.0 < self.max_seconds < math.inf:
            raise CommandError(f"evaluation: max-seconds is {self.max_seconds}, expected more than 1")


@dataclass(frozen=True)
class Sweep:
    """Settings of a sweep. Raises CommandError for a setting out of range."""

    command: str
    """qwop-finetune or qwop-bc."""
    words: tuple[str, ...]
    """Flags of every training, as on the command line."""
    space: Mapping[str, Domain]
    """Flag, without its hyphens, to the values to try."""
    metric: str = "score"
    """What to optimize: one of METRICS, mean over the seeds of a trial."""
    trials: int = 20
    """Settings to try."""
    seeds: int = 1
    """Trainings of each, with the seeds 0, 1, ..."""
    budget: int = 0
    """Length of a whole training: environment steps, or epochs of qwop-bc. 0: what the other flags say."""
    rungs: int = 3
    """Number of budgets at which trials are compared."""
    reduction: int = 3
    """Each budget is so many times the one before; the best 1/reduction of the trials go on."""
    seed: int = 0
    """Seed of the search."""
    judging: Judging = field(default_factory=Judging)

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise CommandError(f"metric {self.metric!r}: choose one of {', '.join(METRICS)}")
        for name, least in (("trials", 1), ("seeds", 1), ("rungs", 1), ("reduction", 2), ("seed", 0)):
            if getattr(self, name) < least:
                raise CommandError(f"{name} is {getattr(self, name)}, expected {least} or more")
        if self.budget < 0 or (self.rungs > 1 and self.budgets[0] < 1):
            raise CommandError(
                f"budget is {self.budget}: too small for {self.rungs} rungs, each {self.reduction} times "
                "the one before"
            )

    @property
    def mode(self) -> str:
        """Whether the largest ("max") or the smallest ("min") value is best."""
        return METRICS[self.metric]

    @property
    def budgets(self) -> tuple[int, ...]:
        """The budget of each rung, in rising order."""
        return tuple(round(self.budget / self.reduction**i) for i in reversed(range(self.rungs)))

    def parse(
        self, settings: Mapping[str, Any], more: Sequence[str] = ()
    ) -> qwop_bc.Options | qwop_finetune.FinetuneConfig:
        """Return the settings of a training, parsed by its command.

        Args:
            settings: flag, without hyphens, to value: of the space.
            more: flags behind those, such as the seed.

        Raises:
            CommandError: they do not fit together; one line.
        """
        words = [*self.words, *_words(self.command, settings, self.words, ""), *more]
        return _tried(self.command, words, f"{self.command} {' '.join(words)}")

    def defaults(self) -> dict[str, Any] | None:
        """Return the settings without a sweep, if they are in the space; None if not."""
        config = self.parse({})
        values = {flag: plain(setting(config, flag)) for flag in self.space}
        return values if all(self.space[flag].holds(value) for flag, value in values.items()) else None

    def as_plain(self) -> dict[str, Any]:
        """Return the settings as plain data, for `from_plain`."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


def from_plain(data: Mapping[str, Any]) -> Sweep:
    """Return the settings that `Sweep.as_plain` made plain data of."""
    space = {
        flag: Choices(tuple(d["values"])) if "values" in d else Range(**d)
        for flag, d in cast("dict[str, dict[str, Any]]", data["space"]).items()
    }
    given: dict[str, Any] = {
        **data,
        "words": tuple(data["words"]),
        "space": space,
        "judging": Judging(**data["judging"]),
    }
    return Sweep(**given)


def space_text(name: str) -> str:
    """Return the text of a sweep's file: a path, or one of READY.

    Raises:
        CommandError: there is no such file.
    """
    try:
        if name in READY and not Path(name).is_file():
            return (files("qwop_sweep") / "spaces" / f"{name}.yaml").read_text(encoding="utf-8")
        return Path(name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise CommandError(f"{name}: not a text file") from None
    except OSError as error:
        ready = ", ".join(READY)
        raise CommandError(
            f"{name}: {error.strerror or error}; give a YAML file, or one of {ready}"
        ) from None


def read_sweep(name: str, text: str, changes: Mapping[str, int], extra: Sequence[str] = ()) -> Sweep:
    """Read and check a sweep's file.

    Args:
        name: what messages call the file.
        text: its text, YAML.
        changes: trials, seeds and budget in place of the file's.
        extra: flags of every training, behind those of the file.

    Raises:
        CommandError: it is wrong: one line.
    """
    try:
        return _read(_yaml(text), changes, extra)
    except CommandError as error:
        raise CommandError(f"{name}: {error}") from None


def setting(config: Any, flag: str) -> Any:
    """Return the value of a flag in a parsed config, whose dataclasses may be nested."""
    *groups, name = flag.replace("-", "_").split(".")
    for group in groups:
        config = getattr(config, group)
    values = [getattr(config, f.name) for f in dataclasses.fields(config)]
    for holder in (config, *(value for value in values if dataclasses.is_dataclass(value))):
        if hasattr(holder, name):
            return getattr(holder, name)
    raise CommandError(f"{flag}: no setting of that name")


def plain(value: Any) -> Any:
    """Return a setting as YAML has it."""
    if isinstance(value, tuple):
        return [plain(v) for v in cast("tuple[Any, ...]", value)]
    return str(value) if isinstance(value, Path) else value


def _yaml(text: str) -> dict[str, Any]:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        raise CommandError("PyYAML is not installed: pip install 'qwop-stride[cluster]'") from None
    try:
        data: Any = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise CommandError(f"not YAML: {' '.join(str(error).split())}") from None
    return _mapping("the file", data)


def _read(data: dict[str, Any], changes: Mapping[str, int], extra: Sequence[str]) -> Sweep:
    names = ("command", "flags", "space", "metric", "trials", "seeds", "budget", "rungs", "reduction", "seed")
    _known("", data, (*names, "evaluation"))
    command = data.get("command")
    if command not in COMMANDS:
        raise CommandError(f"command is {command!r}: expected {' or '.join(COMMANDS)}")
    judging = _judging(_mapping("evaluation", data.get("evaluation", {})))
    flags = _mapping("flags", data.get("flags", {}))
    counts = ("trials", "seeds", "budget", "rungs", "reduction", "seed")
    numbers = {name: _whole(name, data[name]) for name in counts if name in data} | dict(changes)
    words = _checked_words(command, flags, extra)
    config = _tried(command, words, "flags")
    length = _budget_flag(config)
    if length is None:
        if numbers.get("budget") or numbers.get("rungs", 1) > 1:
            raise CommandError(
                f"method {setting(config, 'method')} can't pause: omit budget and rungs; "
                "its own flags say how long it is"
            )
        numbers |= {"budget": 0, "rungs": 1}
    elif not numbers.get("budget"):
        numbers["budget"] = int(setting(config, length))
    reserved = (*_RESERVED, *(() if length is None else (length,)))
    space = _mapping("space", data.get("space", {}))
    if not space:
        raise CommandError("space: name one flag or more")
    for part, given in (("flags", {*flags, *_flags_in(extra)}), ("space", set(space))):
        for flag in sorted(given):
            if flag in reserved:
                raise CommandError(f"{part}: {flag}: the sweep sets it itself{_instead(flag, length)}")
            if part == "space" and flag in {*flags, *_flags_in(extra)}:
                raise CommandError(f"space: {flag}: flags gives it too; omit it in one place")
    domains = {flag: _domain(command, f"space: {flag}", flag, value, words) for flag, value in space.items()}
    if length == "total-steps":
        words = (*words, "--total-steps", str(numbers["budget"]))
        if setting(config, "algorithm") != "ppo" and numbers.get("rungs", 3) > 1:
            words = (*words, "--save-replay")
    metric = _text("metric", data.get("metric", "score"))
    sweep = Sweep(command, words, domains, metric=metric, judging=judging, **numbers)
    _tried(command, sweep.words, "budget")
    return sweep


def _judging(data: dict[str, Any]) -> Judging:
    kinds: dict[str, type] = {f.name: type(f.default) for f in dataclasses.fields(Judging)}
    _known("evaluation: ", data, [name.replace("_", "-") for name in kinds])
    given: dict[str, Any] = {}
    for flag, value in data.items():
        name = flag.replace("-", "_")
        where = f"evaluation: {flag}"
        if kinds[name] is bool:
            if not isinstance(value, bool):
                raise CommandError(f"{where} is {value!r}: expected true or false")
            given[name] = value
        else:
            given[name] = _whole(where, value) if kinds[name] is int else _number(where, value)
    return Judging(**given)


def _instead(flag: str, length: str | None) -> str:
    if flag == length:
        return "; use budget"
    return "; use seeds" if flag == "seed" else ""


def _budget_flag(config: qwop_bc.Options | qwop_finetune.FinetuneConfig) -> str | None:
    """The flag that says how long a training is, if it can pause; None if not."""
    if isinstance(config, qwop_bc.Options):
        return "epochs" if config.method == "bc" else None
    return "total-steps"


def _parse(command: str, words: Sequence[str]) -> qwop_bc.Options | qwop_finetune.FinetuneConfig:
    return qwop_bc.parse(list(words)) if command == "qwop-bc" else qwop_finetune.parse(list(words))


def _tried(command: str, words: Sequence[str], where: str) -> qwop_bc.Options | qwop_finetune.FinetuneConfig:
    """Parse a command line, and check that the files that it names exist."""
    try:
        config = _parse(command, words)
    except _ERRORS as error:
        raise CommandError(f"{where.rstrip(': ')}: {error}") from None
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    for name, value in values.items():
        if isinstance(value, Path) and name not in _PATHS_OF_ITS_OWN and not value.exists():
            raise CommandError(f"{where.rstrip(': ')}: {name} {value}: no such file")
    return config


def _checked_words(command: str, flags: dict[str, Any], extra: Sequence[str]) -> tuple[str, ...]:
    """Flags of every training as words. `bundled` stands for the project's demonstrations."""
    given = dict(flags)
    for name in ("dataset", "demos"):
        if given.get(name) == "bundled":
            given[name] = str(bundled_file("qwop_stride", "demos.h5"))
    dataset = [str(given.pop("dataset"))] if command == "qwop-bc" and "dataset" in given else []
    for flag in given:
        if flag in _RESERVED:
            raise CommandError(f"flags: {flag}: the sweep sets it itself{_instead(flag, None)}")
    if "--help" in extra:
        raise CommandError("flags: --help is none; see qwop-finetune --help and qwop-bc --help")
    return (*dataset, *_words(command, given, dataset, "flags: "), *extra)


def _flags_in(words: Sequence[str]) -> set[str]:
    return {word[2:].partition("=")[0] for word in words if word.startswith("--")}


def _words(command: str, settings: Mapping[str, Any], before: Sequence[str], where: str) -> list[str]:
    """Return settings as words of a command line, to put behind the words `before`."""
    words: list[str] = []
    off = [flag for flag, value in settings.items() if value is False]
    for flag, value in settings.items():
        name = f"--{flag}"
        if value is True:
            words.append(name)
        elif isinstance(value, list):
            items = [_word(where + flag, v) for v in cast("list[Any]", value)]
            # Options of a reward are given one by one, sizes of layers together.
            words += [w for v in items for w in (name, v)] if flag == "reward-option" else [name, *items]
        elif value is not None and value is not False:
            words += [name, _word(where + flag, value)]
    if off:  # some flags have no opposite, because they are off without it
        config = _tried(command, [*before, *words], where)
        words += [f"--no-{flag}" for flag in off if setting(config, flag) is not False]
    return words


def _word(where: str, value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    if not isinstance(value, str) or value.startswith("--"):
        raise CommandError(f"{where}: {value!r}: expected a number, a text, true, false or a list of these")
    return value


def _domain(command: str, where: str, flag: str, data: Any, words: Sequence[str]) -> Domain:
    """Read the values of one flag, and parse each end or choice with the command's own parser."""
    if not isinstance(data, list | dict):
        raise CommandError(f"{where}: expected a list of choices, or low and high, got {data!r}")
    entries: dict[str, Any] = {"choices": data} if isinstance(data, list) else cast("dict[str, Any]", data)
    _known(f"{where}: ", entries, ("choices",) if "choices" in entries else ("low", "high", "log"))
    if "choices" in entries:
        choices: Any = entries["choices"]
        if not isinstance(choices, list) or not choices:
            raise CommandError(f"{where}: choices has to be a list with one value or more")
        values = tuple(_numeric(v) for v in cast("list[Any]", choices))
        if any(values.index(v) != i for i, v in enumerate(values)):
            raise CommandError(f"{where}: a choice is given twice")
        for value in values:
            _tried(command, [*words, *_words(command, {flag: value}, words, "space: ")], where)
        return Choices(values)
    for end in ("low", "high"):
        if end not in entries:
            raise CommandError(f"{where}: give low and high, or choices")
    low, high = _number(f"{where}: low", entries["low"]), _number(f"{where}: high", entries["high"])
    log = entries.get("log", False)
    if not isinstance(log, bool):
        raise CommandError(f"{where}: log is {log!r}: expected true or false")
    if not low < high:
        raise CommandError(f"{where}: low is {low:g} and high {high:g}: low has to be below high")
    if log and low <= 0:
        raise CommandError(f"{where}: low is {low:g}: with log it has to be above 0")
    parsed = [
        setting(_tried(command, [*words, f"--{flag}", _word(where, end)], where), flag)
        for end in (_numeric(entries["low"]), _numeric(entries["high"]))
    ]
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in parsed):
        raise CommandError(f"{where}: is not a number; give choices")
    return Range(*parsed, log=log, whole=isinstance(parsed[0], int))


def _numeric(value: Any) -> Any:
    """The number that a text such as 1e-4 is, which YAML takes for text."""
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return value
        return int(number) if number.is_integer() and "." not in value and "-" not in value else number
    return value


def _number(where: str, value: Any) -> float:
    value = _numeric(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise CommandError(f"{where} is {value!r}: expected a number")
    return value


def _whole(where: str, value: Any) -> int:
    number = _number(where, value)
    if number != int(number):
        raise CommandError(f"{where} is {value!r}: expected a whole number")
    return int(number)


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise CommandError(f"{where} is {value!r}: expected a name")
    return value


def _mapping(where: str, data: Any) -> dict[str, Any]:
    kind = type(data).__name__
    if not isinstance(data, dict) or not all(isinstance(k, str) for k in cast("dict[Any, Any]", data)):
        raise CommandError(f"{where}: expected names with values, got {kind}")
    return cast("dict[str, Any]", data)


def _known(where: str, data: Mapping[str, Any], names: Sequence[str]) -> None:
    for name in data:
        if name not in names:
            raise CommandError(f"{where}{name}: not known here; expected {', '.join(names)}")
