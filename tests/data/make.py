"""Make the data files beside this one, by the rules that README.md names: python -m tests.data.make."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from utils import data

FOLDER = Path(__file__).resolve().parent


def good() -> pd.DataFrame:
    """Return scikit-learn's diabetes data as it is."""
    return data.load("sklearn:diabetes", "target")


def schema() -> pd.DataFrame:
    """Rename a column, leave one out, and write words where there were numbers."""
    frame = good().rename(columns={"bmi": "body_mass_index"}).drop(columns="s6")
    return frame.assign(age=frame["age"].gt(0).map({True: "older", False: "younger"}))


def missing() -> pd.DataFrame:
    """Blank bmi in every third row."""
    frame = good()
    return frame.assign(bmi=frame["bmi"].mask(frame.index % 3 == 0))


def distribution() -> pd.DataFrame:
    """Move each bmi half-way to the greatest, so that none leaves the range."""
    frame = good()
    return frame.assign(bmi=(frame["bmi"] + frame["bmi"].max()) / 2)


def main(folder: Path = FOLDER) -> None:
    """Write all files."""
    for rule in (good, schema, missing, distribution):
        rule().to_csv(folder / f"diabetes_{rule.__name__}.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
