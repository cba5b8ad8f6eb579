"""What CI runs: the pipeline of notebooks, its runner, kernels, reports and approvals."""

from ci import deferred

deferred.defer(*deferred.GRAMMAR)
