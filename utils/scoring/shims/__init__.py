"""The two files that lie beside the folder scoring/ in a package, and are started by their path."""
