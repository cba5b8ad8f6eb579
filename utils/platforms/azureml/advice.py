"""What to do about an error of Azure, by its code: a missing role, a quota, a name that is taken, …."""

from __future__ import annotations

import re
from collections.abc import Callable

from utils.platforms.azureml.bodies import Fault

# The role that allows an action: the first that fits.
_ROLES = (
    (r"^microsoft\.authorization/", "User Access Administrator"),
    (r"^microsoft\.machinelearningservices/workspaces/computes/", "AzureML Compute Operator"),
    (r"^microsoft\.machinelearningservices/workspaces/(write|delete|listkeys)", "Contributor"),
    (r"^microsoft\.machinelearningservices/", "AzureML Data Scientist"),
    (r"^microsoft\.storage/.*/(blobs|containers)/", "Storage Blob Data Contributor"),
    (r"^microsoft\.keyvault/vaults/secrets", "Key Vault Secrets Officer"),
    (r"^microsoft\.containerregistry/registries/(pull|push)", "AcrPush"),
    (r"^microsoft\.containerservice/managedclusters/list", "Azure Kubernetes Service Cluster Admin Role"),
    (r"", "Contributor"),
)


def give(fault: Fault) -> str:
    """Return what to do about a fault, as a sentence; "" where nobody knows."""
    for status, codes, words in _ADVICE:
        if status in (0, fault.status) and re.search(codes, fault.code, re.IGNORECASE):
            return words if isinstance(words, str) else words(fault)
    if fault.certificate:
        return (
            "The other side's certificate isn't trusted here: if a proxy reads the traffic, give its "
            "authority by REQUESTS_CA_BUNDLE and SSL_CERT_FILE."
        )
    if fault.network:
        return "Look at the network, and at HTTPS_PROXY if there is a proxy; then try again."
    if fault.status >= 500:
        return "Azure's own fault: try again in some minutes; what has been done stays done."
    return ""


def _role(fault: Fault) -> str:
    action = re.search(r"perform action '([^']+)'", fault.message)
    if not action:
        return (
            "Whoever signed in needs a role on the workspace, such as AzureML Data Scientist, or Contributor "
            "on its resource group; an owner gives it, and it holds after some minutes."
        )
    role = next(role for pattern, role in _ROLES if re.search(pattern, action[1].lower()))
    scope = re.search(r"over scope '([^']+)'", fault.message)
    who = re.search(r"object id '([^']+)'", fault.message)
    return (
        f"It needs the role {role}, or another with that action; an owner gives it, and it holds after some "
        f'minutes: az role assignment create --role "{role}" --assignee {who[1] if who else "…"} '
        f"--scope {scope[1] if scope else '…'}"
    )


def _throttled(fault: Fault) -> str:
    when = f"in {fault.retry_after:.0f} seconds" if fault.retry_after else "in some minutes"
    return f"Too many requests: try again {when}; what has been done stays done."


_QUOTA = (
    "The subscription's quota is used up: ask for more (portal: Quotas, for the region), choose another "
    "size, fewer nodes or another region, or delete what isn't used."
)
_TAKEN = (
    "The name is taken, maybe by somebody else, or by what was deleted and can still be recovered: choose "
    "another, or purge what was deleted."
)
_SIGN_IN = (
    "The sign-in has expired or is of another tenant: `az login` again (with --tenant), or renew what the "
    "environment holds."
)
_FEDERATED = (
    "No federated credential of the application fits this job: its issuer, subject and audience must be "
    "those of the job's token."
)
_REGISTER = (
    "An owner registers the service once, `az provider register --namespace …`, with the namespace that "
    "the message names, or Microsoft.MachineLearningServices."
)

# By status (0: any) and Azure's own word: the first that fits.
_ADVICE: tuple[tuple[int, str, str | Callable[[Fault], str]], ...] = (
    (0, "AADSTS7000215", "AZURE_CLIENT_SECRET must be the secret's value (not its id), of this application."),
    (0, "AADSTS7000222", "The application's secret has expired: make a new one for AZURE_CLIENT_SECRET."),
    (0, "AADSTS700016", "The tenant has no such application: look at AZURE_CLIENT_ID and AZURE_TENANT_ID."),
    (0, "AADSTS90002|AADSTS900023", "There is no such tenant: look at AZURE_TENANT_ID."),
    (0, "AADSTS700024", "The job's token has expired: sign in anew within the job."),
    (0, "AADSTS700027", "The certificate isn't one of this application: register it, or give the right one."),
    (0, r"AADSTS7002[1-3]\d*|AADSTS70021", _FEDERATED),
    (0, "AADSTS(50076|50079|50173|53003|70043|700082)", "Whoever signed in has to do so again: `az login`."),
    (
        0,
        "AADSTS|^invalid_client$|^unauthorized_client$",
        "Look at AZURE_TENANT_ID, AZURE_CLIENT_ID and so on.",
    ),
    (0, "ExpiredAuthenticationToken|TokenExpired|InvalidAuthenticationToken", _SIGN_IN),
    (0, "AuthorizationFailed|AuthorizationPermissionMismatch", _role),
    (
        0,
        "RequestDisallowedByPolicy",
        "A policy of the organization forbids it: ask the subscription's owner.",
    ),
    (0, "ScopeLocked", "The resource is locked against changes: an owner has to remove the lock."),
    (0, "MissingSubscriptionRegistration|NoRegisteredProviderFound", _REGISTER),
    (
        0,
        "ReadOnlyDisabledSubscription|SubscriptionDisabled",
        "The subscription is disabled: see its billing.",
    ),
    (0, "SubscriptionNotFound|InvalidSubscriptionId", "Look at the subscription's id, and at the tenant."),
    (0, "ResourceGroupNotFound", "Look at the resource group's name."),
    (0, "ResourceGroupBeingDeleted", "The resource group is being deleted: wait until it is gone."),
    (0, "quota|ClusterCore|LimitExceeded|LowPriorityVMsNotAllowed", _QUOTA),
    (409, "OperationNotAllowed", _QUOTA),
    (
        0,
        "Sku\\w*Not(Available|Supported)|VmSizeNot|InvalidVmSize|AllocationFailed|OverconstrainedAllocation",
        "There are no such machines now, or not there: choose another size or region.",
    ),
    (0, "LocationNotAvailable|InvalidLocation|InvalidResourceLocation", "Choose another region."),
    (
        0,
        "Name(Unavailable|NotAvailable|Conflict)|Already(Taken|InUse)|(Vault|Account|Registry)AlreadyExists"
        "|FlagMustBeSetForRestore|ConflictError|SoftDeleted",
        _TAKEN,
    ),
    (429, "", _throttled),
    (0, "TooManyRequests|Throttl|ServerBusy", _throttled),
    (401, "", _SIGN_IN),
    (403, "", _role),
)
