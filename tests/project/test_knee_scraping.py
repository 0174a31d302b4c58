"""benchmarks/knee_scraping.py: its figures, tables and games; the trainings themselves are the product's."""

import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(load_benchmark):
    return load_benchmark("knee_scraping")


def test_a_table_has_a_row_for_each_arm_of_its_group_that_was_trained(study, studied):
    results = {
        "stride": {str(seed): studied(0.0, rate) for seed, rate in enumerate((0.5, 0.7, 0.0))},
        "clone": {"0": studied(0.9, steps=0)},
    }
    lines = study.table(results, study.NOTHING).splitlines()
    assert len(lines) == 3
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[:5] == [
        "`stride`, knee rule",
        "3",
        "0.0002 M",
        "40 (0 to 70)",
        "50.0 (50.0 to 50.0), 2 of 3",
    ]
    assert "clone alone" in study.table(results, study.CLONE)
    assert "stride" not in study.table(results, study.CLONE)


def test_tables_go_between_their_marks_and_nothing_else_changes(study, studied):
    results = {"stride": {"0": studied(0.5)}}
    text = "a\n<!-- table: nothing -->\nold\n<!-- end -->\nb\n"
    once = study.with_tables(text, results)
    assert once.startswith("a\n<!-- table: nothing -->\n|") and once.endswith("|\n<!-- end -->\nb\n")
    assert "old" not in once and study.with_tables(once, results) == once


def test_every_arm_is_a_command_that_the_product_takes(study, tmp_path):
    from qwop_finetune.cli import parse

    for name, arm in study.ARMS.items():
        if arm.learner == "sb3" or not arm.steps:
            continue
        task = study.Task(name, 7, arm.steps, tmp_path)
        clone = tmp_path / "clone.safetensors" if arm.clone else None
        run = parse(study.training_command(task, clone, "float32")[1:])
        assert (run.learner.seed, run.learner.total_steps, run.init) == (7, arm.steps, clone)
    bare = parse(study.training_command(study.Task("bare", 0, 9, tmp_path), tmp_path / "c", "float32")[1:])
    assert (bare.learner.critic_warmup_steps, bare.learner.reference_kl_coef) == (0, 0)
    assert bare.learner.update_normalizer and bare.on_collapse == "ignore"


def test_stable_baselines_sees_the_end_of_an_episode_apart_from_the_next_start(study):
    games = study.sb3_games("--reward stride --reward-option knee_seconds=none", 0, 8)
    games.reset()
    generator = np.random.default_rng(0)
    for _ in range(400):
        observations, rewards, ended, infos = games.step(generator.integers(0, 9, 8))
        for i in np.flatnonzero(ended):
            assert rewards[i] < -1.5 and infos[i]["TimeLimit.truncated"] is False  # fall_cost is 2
            assert not np.array_equal(infos[i]["terminal_observation"], observations[i])
        if ended.any():
            break
    assert ended.any() and not any(infos[i] for i in np.flatnonzero(~ended))
    games.close()
