"""Making the workspace, by one deployment of Azure Resource Manager that several jobs share.

The deployment has a fixed name within the resource group. Azure runs no two of the same name at a time, so
that of several jobs one begins it and all wait for it; one that is interrupted goes on in Azure, and is taken
up again. What it makes has names that follow from the workspace's, so that a second try after a failure takes
up what the first has left.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any

from utils.platforms.azureml import faults, settings, waiting
from utils.platforms.protocol import PlatformError

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

# Of a workspace in the making.
UNDERWAY = frozenset({"Creating", "Unknown", "Accepted"})
TAG = "mlops-seed"
ACTIVE = "DeploymentActive"
ENDED = frozenset({"Succeeded", "Failed", "Canceled", "Deleted"})


def create(site: Site) -> bool:
    """Make the workspace, with its resource group, unless somebody does; wait, and return whether we did.

    Raises
    ------
    PlatformError
        If the region isn't set, or Azure refuses; with what to do.
    """
    from azure.mgmt.resource import ResourceManagementClient

    given = site.settings
    with faults.speaking(f"The {site.words} can't be made"):
        client = site.authentication._get_service_client(ResourceManagementClient, given.subscription)
        group = _group(site, client)
        name = f"mlops-{given.workspace}"
        begun = _begin(site, client, name, group)
        waiting.wait_for(
            f"The {site.words}",
            lambda: _look(site, client, name),
            timeout=given.timeouts.workspace,
            interval=given.poll_seconds,
        )
        return begun


def wait(site: Site) -> None:
    """Wait for a workspace that somebody is making.

    Raises
    ------
    PlatformError
        If it isn't there any more, or takes too long.
    """

    def look() -> tuple[Any, str]:
        found = site.find()
        if found is None:
            raise PlatformError(f"The {site.words} is gone: whoever was making it has failed, or deleted it.")
        state = str(found.provisioning_state)
        return (found if state not in UNDERWAY else None), state.lower()

    given = site.settings
    waiting.wait_for(f"The {site.words}", look, timeout=given.timeouts.workspace, interval=given.poll_seconds)


def _group(site: Site, client: Any) -> Any:
    """Return the resource group; it is made if there is none."""
    given = site.settings
    try:
        return site.retried(lambda: client.resource_groups.get(given.resource_group))
    except Exception as error:
        if not faults.missing(error, "ResourceGroupNotFound"):
            raise
    if not given.region:
        raise PlatformError(
            f"There is no resource group {given.resource_group!r}: set {settings.SECTION}.region in "
            f"{settings.FILE} (such as westeurope), so that it can be made."
        )
    # Vaults' names stay taken for a while after they are deleted: a group that is made anew has new ones.
    tags = {TAG: secrets.token_hex(4), "made-by": "mlops-notebooks"}
    body = {"location": given.region, "tags": tags}
    site.retried(lambda: client.resource_groups.create_or_update(given.resource_group, body))
    return site.retried(lambda: client.resource_groups.get(given.resource_group))


def _begin(site: Site, client: Any, name: str, group: Any) -> bool:
    """Begin the deployment, unless it is under way; return whether this process did."""
    given = site.settings
    running = _deployment(site, client, name)
    if running is not None and running.properties.provisioning_state not in ENDED:
        return False
    if site.find() is not None:
        # Somebody else's has ended just now.
        return False
    seed = (group.tags or {}).get(TAG, "")
    body = {
        "properties": {
            "mode": "Incremental",
            "template": template(site, seed, given.region or group.location),
        }
    }
    try:
        site.retried(
            lambda: client.deployments.begin_create_or_update(given.resource_group, name, body, polling=False)
        )
    except Exception as error:
        if faults.read(error).code == ACTIVE:
            return False
        raise
    return True


def _deployment(site: Site, client: Any, name: str) -> Any:
    try:
        return site.retried(lambda: client.deployments.get(site.settings.resource_group, name))
    except Exception as error:
        if faults.missing(error, "DeploymentNotFound"):
            return None
        raise


def _look(site: Site, client: Any, name: str) -> tuple[Any, str]:
    """Return the workspace, once it is whole, and how the deployment goes."""
    found = client.deployments.get(site.settings.resource_group, name)
    state = str(found.properties.provisioning_state)
    if state in ("Failed", "Canceled"):
        raise faults.failed(
            f"The {site.words} can't be made (its deployment {name} has ended as {state}; running setup "
            "again takes up what it has made)",
            found.properties.error or {"code": state, "message": "Azure gives no reason"},
        )
    if state != "Succeeded":
        return None, state.lower()
    workspace = site.find()
    if workspace is None or str(workspace.provisioning_state) in UNDERWAY:
        return None, "deployed, not yet ready"
    return workspace, "ready"


def template(site: Site, seed: str, region: str) -> dict[str, Any]:
    """Return the template of all that a workspace is made of, within the one resource group.

    Parameters
    ----------
    seed : str
        Makes names that nobody else has; the same seed gives the same names.
    """
    from azureml._base_sdk_common.common import fetch_tenantid_from_aad_token
    from azureml._workspace import _utils, arm_template_builder

    given = site.settings
    location = region.lower().replace(" ", "")
    tail = hashlib.sha256(
        f"{given.subscription}/{given.resource_group}/{given.workspace}/{seed}".lower().encode()
    ).hexdigest()
    letters = "".join(letter for letter in given.workspace.lower() if letter.isascii() and letter.isalnum())[
        :8
    ]
    # A vault's name begins with a letter.
    plain = f"ml{letters}{tail}"
    tags = {"made-by": "mlops-notebooks"}
    names = {
        "Microsoft.Storage/storageAccounts": plain[:24],
        "Microsoft.KeyVault/vaults": plain[:24],
        "Microsoft.OperationalInsights/workspaces": plain[:24],
        "microsoft.insights/components": plain[:24],
    }
    place = f"/subscriptions/{given.subscription}/resourceGroups/{given.resource_group}/providers"
    ids = {kind: f"{place}/{kind}/{name}" for kind, name in names.items()}
    tenant = fetch_tenantid_from_aad_token(site.authentication._get_arm_token())
    logs = {
        "type": "Microsoft.OperationalInsights/workspaces",
        "name": names["Microsoft.OperationalInsights/workspaces"],
        "apiVersion": "2020-08-01",
        "location": location,
        "tags": tags,
        "properties": {},
    }
    insights = arm_template_builder.build_application_insights_resource(
        names["microsoft.insights/components"],
        _utils.get_application_insights_region(location),
        tags,
        ids["Microsoft.OperationalInsights/workspaces"],
    )
    insights["dependsOn"] = [ids["Microsoft.OperationalInsights/workspaces"]]
    workspace = arm_template_builder.build_workspace_resource(
        given.workspace,
        location,
        ids["Microsoft.KeyVault/vaults"],
        containerRegistry=None,
        adbWorkspace=None,
        storageAccount=ids["Microsoft.Storage/storageAccounts"],
        appInsights=ids["microsoft.insights/components"],
        primary_user_assigned_identity=None,
        cmkKeyVault=None,
        resourceCmkUri=None,
        hbiWorkspace=False,
        sku="basic",
        tags=tags,
        userAssignedIdentityForCmkEncryption=None,
        systemDatastoresAuthMode="accesskey",
        v1LegacyMode=None,
        api_version="2021-01-01",
    )
    workspace["dependsOn"] = [ids[kind] for kind in ids if kind != "Microsoft.OperationalInsights/workspaces"]
    builder = arm_template_builder.ArmTemplateBuilder()
    for each in (
        arm_template_builder.build_keyvault_account_resource(
            names["Microsoft.KeyVault/vaults"], location, tenant, tags
        ),
        arm_template_builder.build_storage_account_resource(
            names["Microsoft.Storage/storageAccounts"], location, tags
        ),
        logs,
        insights,
        workspace,
    ):
        builder.add_resource(each)
    made: dict[str, Any] = builder.build()
    return made
