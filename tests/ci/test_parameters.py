"""Parameters are typed by the notebooks that declare them, and each value says where it came from."""

from __future__ import annotations

from pathlib import Path

import papermill
import pytest

from ci.declarations import Declaration, ParameterError, declared
from ci.parameters import Parameters, Value
from ci.pipeline import default_file
from ci.texts import read_yaml


def declare(*lines: str) -> dict[str, Declaration]:
    from ci.declarations import _declarations

    return _declarations("\n".join(lines), "02_train.ipynb")


TRAIN = {
    "02_train": declare(
        "seed: int = 42  # seed of the fit",
        "scale: bool = False  # whether to scale",
        "note: str = ''  # a word",
        "share: float = 0.2  # a share",
        "metrics: list[str] = []  # more metrics",
        "hyperparameters: dict[str, object] = {'alpha': 0.5, 'solver': 'svd'}  # keyword arguments",
    )
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parameters").mkdir()
    for name in ("diabetes", "local"):
        (tmp_path / "parameters" / f"{name}.yml").touch()
    return tmp_path / "parameters"


def resolve(folder: Path, *overrides: tuple[str, str], **options: object) -> Parameters:
    return Parameters(TRAIN, folder / "diabetes.yml", folder / "local.yml", overrides, **options)  # type: ignore[arg-type]


def refusal(folder: Path, *overrides: tuple[str, str], **options: object) -> str:
    with pytest.raises(ParameterError) as error:
        resolve(folder, *overrides, **options)
    return str(error.value)


def test_a_declaration_has_its_type_default_and_help() -> None:
    found = declare("alpha: float = 0.5  # L2 penalty", "drop: list[str] = ['a']  # columns to leave out")
    assert found["alpha"] == Declaration("alpha", "float", 0.5, "L2 penalty")
    assert found["drop"].annotation == "list[str]"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("alpha = 0.5  # no type", "expected 'name: type = literal"),
        ("alpha: float  # no value", "expected 'name: type = literal"),
        ("alpha: float = 0.5", "needs a trailing comment"),
        ("alpha: float = 1 / 2  # computed", "not a literal of its type"),
        ("alpha: float = 'x'  # text", "not a literal of its type"),
        ("alpha: float = float('nan')  # NaN", "not a literal of its type"),
        ("alpha: complex = 1j  # a type that YAML has no word for", "not one of str, int"),
        ("import os", "expected 'name: type = literal"),
        ("alpha: float = (  # unfinished", "isn't Python"),
    ],
)
def test_a_parameters_cell_holds_nothing_but_commented_typed_literals(line: str, complaint: str) -> None:
    with pytest.raises(ParameterError, match="02_train") as error:
        declare(line)
    assert complaint in str(error.value)


def test_a_name_declared_twice_is_refused() -> None:
    with pytest.raises(ParameterError, match="declared twice"):
        declare("a: int = 1  # one", "a: int = 2  # two")


def test_a_notebook_without_a_parameters_cell_is_refused(toy: object, tmp_path: Path) -> None:
    import nbformat

    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "bare.ipynb")
    with pytest.raises(ParameterError, match="one cell tagged 'parameters'; it has 0"):
        declared(tmp_path / "bare.ipynb")
    with pytest.raises(ParameterError, match="There is no notebook"):
        declared(tmp_path / "none.ipynb")
    (tmp_path / "broken.ipynb").write_text("{")
    with pytest.raises(ParameterError, match="can't be read as a notebook"):
        declared(tmp_path / "broken.ipynb")


def test_the_weakest_to_the_strongest_source_is_default_scenario_platform_scrap_command_line(
    folder: Path,
) -> None:
    names = ["a", "b", "c", "d", "e"]
    notebooks = {"n": {name: Declaration(name, "int", 0, "a number") for name in names}}
    (folder / "diabetes.yml").write_text("b: 1\nc: 1\nd: 1\ne: 1\n")
    (folder / "local.yml").write_text("c: 2\nd: 2\ne: 2\n")
    parameters = Parameters(notebooks, folder / "diabetes.yml", folder / "local.yml", [("e", "4")])
    values = parameters.of("n", {"d": Value(3, "setup.rows"), "e": Value(3, "setup.rows")})
    assert {name: (value.value, value.source) for name, value in values.items()} == {
        "b": (1, "parameters/diabetes.yml"),
        "c": (2, "parameters/local.yml"),
        "d": (3, "setup.rows"),
        "e": (4, "-p"),
    }


def test_a_hyperparameter_of_the_scenario_is_set_by_its_own_name(folder: Path) -> None:
    (folder / "diabetes.yml").write_text("hyperparameters: {alpha: 1.0, solver: svd}\n")
    values = resolve(folder, ("alpha", "0.05")).of("02_train", {})
    assert values["hyperparameters"].value == {"alpha": 0.05, "solver": "svd"}
    assert values["hyperparameters"].source == "parameters/diabetes.yml, with -p alpha"


def test_a_hyperparameter_of_the_notebooks_default_is_set_by_its_own_name(folder: Path) -> None:
    values = resolve(folder, ("alpha", "2"), ("solver", "123")).of("02_train", {})
    assert values["hyperparameters"].value == {"alpha": 2, "solver": "123"}


def test_words_of_the_command_line_are_read_as_the_declared_type(folder: Path) -> None:
    values = resolve(
        folder,
        ("note", "123"),
        ("share", "1e-3"),
        ("scale", "true"),
        ("metrics", "[r2, max_error]"),
        ("seed", "7"),
    ).of("02_train", {})
    assert {name: value.value for name, value in values.items()} == {
        "note": "123",
        "share": 0.001,
        "scale": True,
        "metrics": ["r2", "max_error"],
        "seed": 7,
    }


def test_an_int_is_taken_for_a_float_but_a_float_is_no_int(folder: Path) -> None:
    assert resolve(folder, ("share", "1")).of("02_train", {})["share"].value == 1
    assert "expected int" in refusal(folder, ("seed", "1.5"))


@pytest.mark.parametrize(
    ("name", "text"),
    [("share", "abc"), ("share", "nan"), ("share", ".nan"), ("share", "inf"), ("share", ".inf"),
     ("seed", "true"), ("scale", "1"), ("metrics", "r2"), ("seed", ""),
     ("alpha", "abc"), ("alpha", "true"), ("alpha", ".inf")],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_with_name_and_value_and_type(
    folder: Path, name: str, text: str
) -> None:
    message = refusal(folder, (name, text))
    assert f"-p: {name} = " in message or f"-p {name}: " in message
    assert "expected" in message


@pytest.mark.parametrize(
    "address",
    ["s3://me:hunter2@bucket/a.csv", "https://blob/a.csv?sv=1&sig=hunter2", "abfs://a/b?token=hunter2"],
)
def test_an_address_with_a_secret_in_it_is_refused_and_not_shown(folder: Path, address: str) -> None:
    message = refusal(folder, ("note", address))
    assert "credentials by the environment" in message
    assert "hunter2" not in message


def test_an_unknown_name_is_refused_with_the_nearest_known_one(folder: Path) -> None:
    assert "did you mean alpha?" in refusal(folder, ("alhpa", "1"))
    assert "did you mean seed?" in refusal(folder, ("sede", "1"))


def test_an_unknown_name_in_a_file_is_refused_with_the_file(folder: Path) -> None:
    (folder / "diabetes.yml").write_text("sede: 1\n")
    assert "parameters/diabetes.yml: no notebook takes a parameter sede; did you mean seed?" in refusal(
        folder
    )


def test_a_bad_value_in_a_file_is_refused_with_the_file_and_what_the_parameter_is(folder: Path) -> None:
    (folder / "local.yml").write_text("seed: many\n")
    message = refusal(folder)
    assert "parameters/local.yml: seed = 'many'" in message
    assert "seed of the fit" in message


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    (folder / "diabetes.yml").write_text("seed: many\nsede: 1\n")
    assert len(refusal(folder, ("share", "x")).splitlines()) == 3


def test_what_the_pipeline_fixes_can_not_be_given(folder: Path) -> None:
    assert "set by the pipeline itself" in refusal(
        folder, ("environment", "production"), fixed={"environment"}
    )
    (folder / "diabetes.yml").write_text("environment: production\n")
    assert "set by the pipeline itself" in refusal(folder, fixed={"environment"})


def test_stored_overrides_come_back_and_new_ones_are_stronger(folder: Path) -> None:
    parameters = resolve(folder, ("alpha", "3"), stored={"alpha": 2.0, "note": "123"})
    assert parameters.overrides == {"alpha": 3, "note": "123"}


@pytest.mark.parametrize("text", ["[1, 2", "- 1\n- 2\n", "1: 2\n", "a: 1\na: 2\n"])
def test_a_file_that_is_no_mapping_of_names_is_refused(folder: Path, text: str) -> None:
    (folder / "diabetes.yml").write_text(text)
    assert "diabetes.yml" in refusal(folder)


def test_a_missing_scenario_names_those_that_there_are(folder: Path) -> None:
    (folder / "diabetes.yml").rename(folder / "houses.yml")
    assert "beside it are: houses." in refusal(folder)


def test_yaml_reads_numbers_as_people_write_them() -> None:
    assert read_yaml("[1e-3, 1.5, 2, .5, -1e5, x1e3]") == [0.001, 1.5, 2, 0.5, -1e5, "x1e3"]


def test_papermill_sees_the_same_parameters_in_the_projects_notebooks() -> None:
    notebooks = sorted((default_file().parent.parent / "notebooks").glob("*.ipynb"))
    assert len(notebooks) == 7
    for notebook in notebooks:
        assert list(papermill.inspect_notebook(str(notebook))) == list(declared(notebook))
