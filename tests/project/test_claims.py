"""The figures of README and docs are those of their results; an edited one is noticed."""

from pathlib import Path

import pytest

from qwop_benchmark.submission import SubmissionError
from qwop_cli import CommandError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def claims(load_benchmark):
    return load_benchmark("claims")


@pytest.mark.slow
def test_every_fast_claim_holds(claims, capsys):
    assert claims.main([]) == 0, capsys.readouterr().out


def test_an_edited_figure_is_named_with_what_was_computed(claims):
    claim = next(c for c in claims.claims() if c.check == "record")
    text = claims.pages()[claim.page]
    figures = claims.CHECKS["record"]()
    assert claims.problem(claim, text, figures) is None
    edited = text.replace("**37.07 s** for 100 m", "**38.71 s** for 100 m")
    assert edited != text
    assert "says 38.71 for time_3" in claims.problem(claim, edited, figures)
    assert "no longer says" in claims.problem(claim, "", figures)


def test_a_pinned_figure_that_is_edited_fails(claims):
    page = "# Speed\n\n`qwop-eval x` takes 3.5 s.\n\n## Words\n\nThere are 7 days.\n"
    pins = claims.sections("page.md", page)
    assert pins == {"page.md#Speed": "3.5"}
    assert claims.pinned_problems(pins, pins) == []
    for other, said in (
        ("3.4 s", "3.5 became 3.4"),
        ("3.5 s or 4 s", "1 figures became 2"),
        ("a while", "became 0"),
    ):
        problems = claims.pinned_problems(claims.sections("page.md", page.replace("3.5 s", other)), pins)
        assert len(problems) == 1 and said in problems[0]


def test_an_edited_table_is_noticed(claims):
    page = "docs/benchmark/submit.md"
    text = claims.pages()[page]
    edited = text.replace("| 111.4 |", "| 116.7 |")
    assert edited != text and claims.TABLES[page](edited) == text
    with pytest.raises(SubmissionError, match="has no lines"):
        claims.TABLES[page]("no marks")


def test_a_damaged_list_is_one_line(claims, tmp_path, monkeypatch):
    path = tmp_path / "claims.toml"
    path.write_text("[[claim]]\npage = 5\nwrong = 1\n", encoding="utf-8")
    monkeypatch.setattr(claims, "CLAIMS", path)
    with pytest.raises(CommandError, match=r"claims\.toml"):
        claims.claims()
