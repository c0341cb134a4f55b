"""One trial of a study in a process of its own; started by search_optuna.py, not by hand.

python -m ur4rec_recbole.experiments.search_trial FOLDER NUMBER THREADS
"""

import math
import sys
from pathlib import Path

from optuna.trial import TrialState

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.processes import termination_raises
from ur4rec_recbole.experiments import apart, search, space
from ur4rec_recbole.experiments.search_optuna import INTERRUPTED, NAME, open_storage, open_study
from ur4rec_recbole.runs.keeping import Pruned


def run(folder: Path, number: int) -> None:
    """Run a trial of a folder's study, reporting its epochs, and tell the study how it ended."""
    about = search.read(folder)
    storage = open_storage(folder)
    study = open_study(about, storage)
    of = storage.get_trial_id_from_study_id_trial_number(
        storage.get_study_id_from_name(NAME), number
    )

    def worthless(step: int, score: float) -> bool:
        storage.set_trial_intermediate_value(of, step, score)
        return study.pruner.prune(study, storage.get_trial(of))

    values = space.values(about.drawable(), storage.get_trial(of).params)
    try:
        score = search.train(about, values, folder / "trials" / f"{number:04d}", worthless)
    except Pruned:
        study.tell(number, state=TrialState.PRUNED)
        return
    if not math.isfinite(score):
        raise InputError(
            f"Trial {number}", "must validate to a finite score", score, "Narrow the space."
        )
    study.tell(number, score)


def main() -> int:
    """Run the trial that the command line names."""
    asked = apart.begin(__doc__, folder=Path, number=int)
    try:
        with termination_raises():
            run(asked.folder, asked.number)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:  # SIGTERM, as the parent passes Ctrl-C on
        print(error, file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
