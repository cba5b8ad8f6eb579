"""Scoring: what a package carries to answer requests. It imports nothing else of this project.

It is copied into every package as the folder ``scoring``, so its modules name each other relatively.
"""
