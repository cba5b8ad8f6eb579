"""The files that a package carries to answer requests: score.py (what) and serve.py (how).

They import nothing of this project but utils/trust.py, which travels with them.
"""
