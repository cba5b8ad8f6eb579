"""What CI runs: the pipeline of notebooks, its runner, kernels, reports and approvals."""

import sys

# jsonschema, which nbformat needs, checks internationalized addresses if this is installed, as it is with
# JupyterLab. To import it takes most of a second, to compile a grammar that no notebook's schema needs.
GRAMMAR = "rfc3987_syntax"
sys.modules.setdefault(GRAMMAR, None)  # type: ignore[arg-type] # which is how Python notes that there is none
