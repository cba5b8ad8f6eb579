"""The entry script of this package, by the contract of Azure Machine Learning: init() and run()."""

import sys
from pathlib import Path

# A package holds what its manifest names, and nothing else.
sys.dont_write_bytecode = True

# For scoring alone: no other file of this folder can be imported in a library's place.
sys.path.insert(0, str(Path(__file__).resolve().parent))
import scoring

del sys.path[0]
from scoring.entry import init, run

__all__ = ["init", "run", "scoring"]
