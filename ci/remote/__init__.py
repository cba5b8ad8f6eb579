"""Steps that run on a platform's own compute: handed over, waited for, and taken back into the run."""
