"""What the notebooks import: data, sanity checks, models, evaluation, packaging, scoring, platforms."""
