"""Sweeps: a step's notebook executed for many values of its parameters, and the best one taken.

`space` says what is searched, `search` what to try next, `trials` what has come of it; `execution` runs
them in a `pool`, side by side, and takes the best. Each trial is a notebook like any other, in a folder of
its own below runs/<run-id>/trials/.
"""
