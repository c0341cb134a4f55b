"""Looks for the cause of a poor result: item tables whose ids or vectors are wrong.

The monitor runs this by itself when a training ends far too low; `ur4rec inspect` is the full test.
"""

import math
from typing import Any

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.features import FeatureTable, token_rows
from ur4rec_recbole.data.items import read_sound_items
from ur4rec_recbole.data.modalities import item_tables
from ur4rec_recbole.inspection import checks
from ur4rec_recbole.monitoring.findings import Finding
from ur4rec_recbole.monitoring.probe import popularity_hit10

NEIGHBOURS = 10


def low_result(reached: float, config: Any, train: Any, valid: Any) -> Finding | None:
    """Return a finding where HR@10 against 99 unseen items is low, tables checked.

    Low is below `lowest_hit`; where that is not set, more than one standard error below what
    ranking by popularity reaches.
    """
    least = config["lowest_hit"]
    named = f"lowest_hit {least}"
    if least is None:
        popular = popularity_hit10(valid) or 0.0
        least = popular - math.sqrt(popular * (1 - popular) / len(valid))
        named = f"popularity's {popular:.4f}"
    if reached >= least:
        return None
    checked = check_tables(config, train)
    wrong = [line for line, sound in checked if not sound]
    return Finding(
        "low_hit_rate",
        f"HR@10 against 99 unseen items is {reached:.4f}, below {named}; "
        + ("; ".join(line for line, _ in checked) or "no item table is set"),
        "A table's ids or vectors are wrong."
        if wrong
        else "The tables are sound, so it is the training or the data set.",
        "Make the table again and run `ur4rec inspect` on it."
        if wrong
        else "See the findings of the stages before; compare with SASRec on the same data.",
    )


def check_tables(config: Any, train: Any) -> list[tuple[str, bool]]:
    """Test every item table: a line that says the result, and whether it is sound."""
    found = []
    for name, file in item_tables(config).items():
        table = FeatureTable.load(file.path)
        rows = token_rows(table, train.field2id_token[train.iid_field], allow_unknown=True)
        subject = checks.Subject(table, rows, train, train, read_sound_items(train))
        try:
            numbers = checks.inspect(subject, NEIGHBOURS)
        except InputError as error:
            found.append((f"{name} table: {error}", False))
            continue
        sound = numbers["ids_right"] and numbers["useful"]
        found.append(
            (
                f"{name} table: neighbours share {numbers['basis']} {numbers['agreement']:.3f}, "
                f"shuffled {numbers['agreement_shuffled']:.3f} (z {numbers['z']:.1f}), ids "
                f"{'right' if numbers['ids_right'] else 'NOT right'}, "
                f"{numbers['coverage_interactions']:.0%} of interactions covered",
                sound,
            )
        )
    return found
