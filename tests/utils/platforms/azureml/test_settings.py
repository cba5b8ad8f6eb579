"""Where on Azure, and how big: what may be set, where, and what is refused."""

from pathlib import Path

import pytest

from utils import project
from utils.platforms.azureml import options, settings
from utils.platforms.protocol import PlatformError

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
MACHINE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/box"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any of the variables."""
    import os

    for name in os.environ:
        if name.startswith(("AZURE", settings.PREFIX)):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The platform's file, of which a test can make what it wants."""
    (tmp_path / "parameters").mkdir()
    monkeypatch.setattr(project, "root", lambda: tmp_path)
    return tmp_path / settings.FILE


def test_the_projects_own_file_is_sound_and_names_nobodys_subscription() -> None:
    found = settings.read()
    assert found == options.Settings()
    assert found.compute.min_nodes == 0


def test_the_environment_is_stronger_than_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("azureml:\n  workspace: of-the-file\n  compute: {size: Standard_A1, max_nodes: 3}\n")
    monkeypatch.setenv("MLOPS_AZUREML_COMPUTE_SIZE", "Standard_B2")
    monkeypatch.setenv("MLOPS_AZUREML_AKS_CREATE", "true")
    found = settings.read()
    assert (found.workspace, found.compute.size, found.compute.max_nodes) == ("of-the-file", "Standard_B2", 3)
    assert found.aks.create


def test_the_usual_variables_are_read_and_our_own_are_stronger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", SUBSCRIPTION)
    monkeypatch.setenv("AZURE_RESOURCE_GROUP", "usual")
    monkeypatch.setenv("AZUREML_WORKSPACE", "usual")
    monkeypatch.setenv("MLOPS_AZUREML_WORKSPACE", "ours")
    found = settings.read()
    assert (found.subscription, found.resource_group, found.workspace) == (SUBSCRIPTION, "usual", "ours")


def test_inside_a_run_its_own_workspace_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZUREML_WORKSPACE", "another")
    assert not settings.inside()
    for name, value in {
        "AZUREML_RUN_ID": "run-1",
        "AZUREML_ARM_SUBSCRIPTION": SUBSCRIPTION,
        "AZUREML_ARM_RESOURCEGROUP": "group",
        "AZUREML_ARM_WORKSPACE_NAME": "its-own",
    }.items():
        monkeypatch.setenv(name, value)
    assert settings.inside()
    assert settings.read().workspace == "its-own"


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (
            "azureml: {colour: red}",
            r"parameters/azureml\.yml: azureml\.colour: .*there are subscription, .*region",
        ),
        ("azureml: {compute: {sise: big}}", r"azureml\.compute\.sise: .*there are target, name, size"),
        ("azureml: {compute: {target: moon}}", r"azureml\.compute\.target: .*'cluster', 'vm' or 'local'"),
        ("azureml: {compute: {max_nodes: 0}}", r"azureml\.compute\.max_nodes: .*greater than or equal to 1"),
        ("azureml: {compute: 3}", r"azureml\.compute: "),
        ("azureml: {subscription: my own}", r"azureml\.subscription: "),
        ("azureml: [1]", "azureml must name settings"),
        ("azureml: {", r"azureml\.yml can't be read"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(file: Path, content: str, refusal: str) -> None:
    file.write_text(content)
    with pytest.raises(PlatformError, match=refusal):
        settings.read()


def test_a_fault_of_the_environment_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_AZUREML_COMPUTE_MAX_NODES", "many")
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "the good one")
    with pytest.raises(PlatformError) as refused:
        settings.read()
    lines = str(refused.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "AZURE_SUBSCRIPTION_ID",
        "MLOPS_AZUREML_COMPUTE_MAX_NODES",
    ]


def test_all_that_is_missing_is_named_in_one_line_with_where_to_set_it() -> None:
    with pytest.raises(PlatformError) as refused:
        settings.demand(settings.read())
    assert "\n" not in str(refused.value)
    for word in (
        "parameters/azureml.yml",
        "AZURE_SUBSCRIPTION_ID",
        "AZURE_RESOURCE_GROUP",
        "AZUREML_WORKSPACE",
    ):
        assert word in str(refused.value)


def test_numbers_of_nodes_and_machines_that_do_not_fit_are_refused() -> None:
    given = {"subscription": SUBSCRIPTION, "resource_group": "group", "workspace": "mine"}

    def demand(**compute: object) -> None:
        settings.demand(options.Settings.model_validate({**given, "compute": compute}))

    demand()
    demand(target="vm", vm={"resource": MACHINE, "user": "me", "key_file": "key"})
    with pytest.raises(PlatformError, match="min_nodes is 3, more than max_nodes, 2"):
        demand(min_nodes=3)
    with pytest.raises(PlatformError, match=r"compute\.target is vm: set compute\.vm\.resource"):
        demand(target="vm", vm={"resource": MACHINE})
