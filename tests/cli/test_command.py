"""A config dataclass as a command line."""

import io
import signal
import time
import weakref
from dataclasses import dataclass

import pytest
import tyro

from qwop_cli import bundled_file
from qwop_cli.command import CommandError, parse_config, run_command


@dataclass(frozen=True)
class Settings:
    """What the command does."""

    name: tyro.conf.Positional[str]
    """Its name."""
    learning_rate: float = 0.5
    """Its step size."""

    def __post_init__(self):
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate is\n{self.learning_rate}")


def run(*arguments, command=lambda settings: None):
    return run_command("prog", lambda: command(parse_config("prog", Settings, arguments)), ValueError)


def test_settings_reach_the_command():
    seen = []
    assert run("x", "--learning-rate", "0.25", command=seen.append) == 0
    assert seen == [Settings("x", 0.25)]
    assert run("x", command=lambda settings: 7) == 7


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("x", "--learning-rte", "3"), "Unrecognized options: --learning-rte, 3; perhaps --learning-rate"),
        (("x", "--learning-rate", "abc"), "Error parsing --learning-rate: could not convert"),
        (("x", "--learning-rate"), "Missing value for argument '--learning-rate'"),
        ((), "Missing from prog: STR Its name."),
        (("x", "y"), "Unrecognized options: y"),
        (("x", "--learning-rate", "-1"), "learning_rate is -1.0"),
    ],
)
def test_mistakes_are_one_line(arguments, expected, capsys):
    assert run(*arguments) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.startswith(f"prog: {expected}")
    assert output.err.count("\n") == 1 and "│" not in output.err


def test_errors_and_interrupts_of_the_command(capsys):
    def broken(settings):
        raise CommandError("the file is gone; make another")

    def interrupted(settings):
        raise KeyboardInterrupt

    assert run("x", command=broken) == 2
    assert capsys.readouterr().err == "prog: the file is gone; make another\n"
    assert run("x", command=interrupted) == 130
    with pytest.raises(SystemExit) as stop:
        run("--help")
    assert stop.value.code == 0 and "Its step size." in capsys.readouterr().out


@dataclass(frozen=True)
class Count:
    """Count the things in a file."""

    limit: int = 3
    """The most to count."""


@pytest.mark.parametrize(
    ("text", "number"), [("12", 12), ("5e7", 50_000_000), ("9007199254740993", 2**53 + 1)]
)
def test_whole_numbers(text, number):
    assert parse_config("prog", Count, ["--limit", text]) == Count(number)
    with pytest.raises(CommandError, match="1.5 is not a whole number"):
        parse_config("prog", Count, ["--limit", "1.5"])


@pytest.mark.parametrize(("encoding", "bullet"), [("ascii", "*"), ("utf-8", "•")])
def test_a_union_of_dataclasses_is_subcommands(monkeypatch, encoding, bullet):
    assert parse_config("prog", Count | Settings, ["count", "--limit", "1"]) == Count(1)
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    monkeypatch.setattr("sys.stdout", output)
    with pytest.raises(SystemExit):
        parse_config("prog", Count | Settings, ["--help"])
    output.seek(0)
    assert f"{bullet} count" in output.read() and output.errors == "strict"


def test_a_bundled_file_is_in_the_package_or_in_the_checkout(tmp_path, monkeypatch):
    package = tmp_path / "part" / "some_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(str(package.parent))
    checkout, wheel = tmp_path / "demos" / "x.h5", package / "demos" / "x.h5"
    with pytest.raises(FileNotFoundError) as missing:
        bundled_file("some_package", "x.h5")
    assert missing.value.filename == str(checkout)
    for path in (checkout, wheel):  # the package's own goes before the checkout's
        path.parent.mkdir()
        path.write_bytes(b"")
        assert bundled_file("some_package", "x.h5") == path


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("in_destructor", [False, True])
def test_a_signal_that_python_drops_is_sent_again(in_destructor, inside, capsys):
    """An exception in the callback of a weak reference, or in a destructor, does not reach the command.

    inside: the signal comes in a command that another command runs, and that ends at once.
    """
    dropped = []

    def interrupt(_reference=None):
        signal.raise_signal(signal.SIGINT)
        dropped.append("the handler did not raise")

    class Resource:
        if in_destructor:
            __del__ = interrupt

    def drop():
        resource = Resource()
        reference = None if in_destructor else weakref.ref(resource, interrupt)
        del resource
        return reference and 0

    def command():
        assert (run_command("inner", drop) if inside else drop() or 0) == 0
        until = time.monotonic() + 20
        while time.monotonic() < until:
            time.sleep(0.001)

    assert run_command("prog", command) == 130
    assert capsys.readouterr().err == "prog: interrupted\n" and not dropped
