"""What to try next: every combination of a grid, or what Optuna makes of the scores so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ci.sweeps.space import Range, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from ci.sweeps.trials import Trial


class Search(Protocol):
    """Says what to try."""

    def ask(self, number: int) -> dict[str, Any]:
        """Return the values of the trial of that number."""
        ...

    def tell(self, trial: Trial) -> None:
        """Learn from a trial that has ended, or that a run before has left."""
        ...


def of(space: Space) -> Search:
    """Return the search of a space's method."""
    return OptunaSearch(space) if space.method == "optuna" else Grid(space)


class Grid:
    """Every combination, in order."""

    def __init__(self, space: Space) -> None:
        self._combinations = list(space.combinations())

    def ask(self, number: int) -> dict[str, Any]:
        """Return the combination of that number."""
        return self._combinations[number - 1]

    def tell(self, trial: Trial) -> None:
        """Nothing is to be learned: all of them are tried."""


class OptunaSearch:
    """Optuna's tree-structured Parzen estimator, which tries more of what has done well.

    Each trial's generator is seeded by its own number, so that a search taken up again asks for what it
    would have asked for uninterrupted. Nothing of Optuna is stored: all it has to know is in the trials.

    References
    ----------
    J. Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NIPS 24 (2011).
    """

    def __init__(self, space: Space) -> None:
        # Whoever doesn't search by it needn't import it.
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        self._study = optuna.create_study(direction="minimize")
        self._distributions = {name: _distribution(values) for name, values in space.parameters.items()}
        self._asked: dict[int, Any] = {}

    def ask(self, number: int) -> dict[str, Any]:
        """Return the values that look best by what was told, avoiding those of trials that still run."""
        from optuna.samplers import TPESampler

        self._study.sampler = TPESampler(
            seed=(self._space.seed + number) % 2**32, constant_liar=True, multivariate=True
        )
        asked = self._study.ask(self._distributions)
        self._asked[number] = asked
        return {
            name: values[asked.params[name]] if isinstance(values, list) else asked.params[name]
            for name, values in self._space.parameters.items()
        }

    def tell(self, trial: Trial) -> None:
        """Take a trial's score into account; one that failed counts for nothing."""
        from optuna.trial import TrialState, create_trial

        state = TrialState.COMPLETE if trial.score else TrialState.FAIL
        loss = trial.score.loss if trial.score else None
        if trial.number in self._asked:
            self._study.tell(self._asked.pop(trial.number), loss, state)
        elif trial.score:
            known = {
                name: values.index(trial.values[name]) if isinstance(values, list) else trial.values[name]
                for name, values in self._space.parameters.items()
            }
            self._study.add_trial(create_trial(params=known, distributions=self._distributions, value=loss))


def _distribution(values: list[Any] | Range) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(values, list):
        # By their places: Optuna's own choices can be no lists and no mappings.
        return CategoricalDistribution(range(len(values)))
    if isinstance(values.low, int) and isinstance(values.high, int) and not isinstance(values.step, float):
        return IntDistribution(values.low, values.high, log=values.log, step=values.step or 1)
    return FloatDistribution(values.low, values.high, log=values.log, step=values.step)
