"""What travels through Azure's pipelines arrives as it was, and becomes the command of a step."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from utils.platforms.azureml import node, pipeline, settings
from utils.platforms.protocol import PlatformError, Stint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0.5",
        "-1",
        "default",
        "a b",
        "a;b",
        '{"alpha": [0.1, 1]}',
        "größe",
        "100 %",
        "%41",
        "x\ny",
        "a\\b",
    ],
)
def test_a_text_arrives_as_it_was(text: str) -> None:
    travelling = node.encode(text)
    assert travelling
    assert not set(travelling) & set(" ;,'\"\\$&|<>()[]{}\n")
    assert node.decode(travelling) == text


def test_what_a_person_posts_plainly_is_taken_as_it_is() -> None:
    for text in ("0.5", "sklearn.linear_model.Ridge", "2026-01-31", "[0.1, 1]", '{"alpha": 0.5}'):
        assert node.decode(text) == text


def test_the_first_node_gets_no_folder_and_the_later_ones_do(tmp_path: Path) -> None:
    own = {"step": "train", "scenario": "diabetes", "give": "handed_on/train", "run": "r1", "job_key": "k"}
    words = [str(word) for word in node.arguments(own, {"alpha": "0.5", "data": node.UNSET})]
    assert node.command(words, tmp_path) == [
        *(sys.executable, "-m", "ci", "step", "train", "--run", "r1", "--take", ""),
        *("--give", f"{tmp_path}/handed_on/train", "--scenario", "diabetes", "--platform", "azureml"),
        *("--parameters", "alpha=0.5"),
    ]
    words = [str(word) for word in node.arguments({**own, "take": "/mnt/before", "run": node.UNSET}, {})]
    command = node.command(words, tmp_path)
    assert command[command.index("--take") + 1] == "/mnt/before"
    assert command[command.index("--run") + 1] == ""


def test_a_job_is_given_what_is_set_alone(tmp_path: Path) -> None:
    stint = Stint(("train",), ("alpha", "data"), "a" * 64, "diabetes", tmp_path)
    given = pipeline.assignments(stint, "r1", {"alpha": "0.5", "data": ""}, "r1.1")
    assert given == {"run": "r1", "job_key": "r1.1", "alpha": "0.5"}
    with pytest.raises(PlatformError, match="has no parameter beta; there are: alpha, data"):
        pipeline.assignments(stint, "r1", {"beta": "1"}, "r1.1")


def test_settings_of_the_environment_go_along_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_AZUREML_COMPUTE_SIZE", "Standard_DS2_v2")
    monkeypatch.setenv("MLOPS_AZUREML_COMPUTE_VM_KEY_FILE", "~/.ssh/id_rsa")
    monkeypatch.setenv("MLOPS_AZUREML_TOKEN", "a secret that is no setting")
    monkeypatch.setenv("MLOPS_SIGNING_KEY", "a secret")
    assert settings.carried() == {"MLOPS_AZUREML_COMPUTE_SIZE": "Standard_DS2_v2"}


def test_a_pipeline_is_known_by_what_it_is_made_of_and_where_it_runs(tmp_path: Path) -> None:
    stint = Stint(("train",), (), "a" * 64, "diabetes", tmp_path)
    other = Stint(("train",), (), "b" * 64, "diabetes", tmp_path)
    known = {
        pipeline.version(stint, "env", "1", "cpu"),
        pipeline.version(stint, "env", "2", "cpu"),
        pipeline.version(other, "env", "1", "cpu"),
    }
    assert len(known) == 3
    assert pipeline.version(stint, "env", "1", "cpu") in known
