"""What CI runs: the pipeline of notebooks, its runner, its approvals and its reports."""
