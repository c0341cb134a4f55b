"""The verdict of `ur4rec inspect`: ids right, vectors useful; and the findings in lines."""

import json
from typing import Any

from ur4rec_recbole.data.features import FeatureTable

SURE_Z = 4.0  # standard deviations above shuffled rows
SURE_LEAD = 3.0  # t value over the best shift
LEAST_COVERAGE = 0.5


def judge(numbers: dict[str, Any]) -> dict[str, Any]:
    """Answer yes or no: ids right, vectors useful; with the reasons."""
    above = numbers["z"] >= SURE_Z and numbers["p_value"] < 0.01
    right = above and numbers["best_lag"] == 0 and numbers["lead"] >= SURE_LEAD
    wrong = []
    if not above:
        wrong.append("neighbours agree no better than shuffled")
    if numbers["coverage_interactions"] < LEAST_COVERAGE:
        wrong.append(f"only {numbers['coverage_interactions']:.0%} of interactions are covered")
    if numbers["duplicate_rows"] > 0.5 * numbers["rows"]:
        wrong.append("more than half of the rows are copies of others")
    if numbers["mean_cosine"] > 0.99:
        wrong.append("all vectors point the same way")
    if numbers["best_lag"] and numbers["z"] < SURE_Z:
        lag = numbers["best_lag"]
        wrong.append(f"the tokens fit best when moved by {lag} rows (numpy.roll)")
    return {"ids_right": bool(right), "useful": not wrong, "objections": wrong}


def report(table: FeatureTable, found: dict[str, Any]) -> list[str]:
    """Return the findings as lines of text."""
    unit = "users" if table.lengths is not None else "items"
    answer = {True: "yes", False: "NO"}
    best = max(found["agreement_shifted"].items(), key=lambda pair: pair[1])
    return [
        f"{table.name}: {table.provenance['kind']}, {len(table)} rows, width {table.width}",
        "  provenance: " + json.dumps(dict(table.provenance), ensure_ascii=False),
        f"  coverage: {found['coverage_ids']:.1%} of {unit}, "
        f"{found['coverage_interactions']:.1%} of interactions; "
        f"{found['unknown_tokens']} tokens outside the data set",
        f"  norms: {found['norm_least']:.3f} to {found['norm_most']:.3f}, "
        f"median {found['norm_median']:.3f}",
        f"  duplicates: {found['duplicate_rows']} rows, such as {found['duplicate_examples'][:2]}",
        f"  isotropy: mean cosine {found['mean_cosine']:.3f}, effective rank "
        f"{found['effective_rank']:.1f} of {table.width}, first axis {found['first_share']:.1%}",
        f"  neighbours' shared {found['basis']}: {found['agreement']:.4f}; shuffled "
        f"{found['agreement_shuffled']:.4f} (z {found['z']:.1f}, p {found['p_value']:.3f}); "
        f"best of rows shifted: {best[1]:.4f} (by {best[0]})",
        f"  neighbours' shared {'items' if table.lengths is not None else 'users'}: "
        f"{found['shared_history']:.4f}; shuffled {found['shared_history_shuffled']:.4f} "
        f"(z {found['shared_history_z']:.1f})",
        f"Are the ids right? {answer[found['ids_right']]} (lead over shifted rows: t = "
        f"{found['lead']:.1f}, sure from {SURE_LEAD:.0f}; over shuffled: z = {found['z']:.1f}, "
        f"sure from {SURE_Z:.0f})",
        f"Are the vectors useful? {answer[found['useful']]} ({found['agreement']:.4f} against "
        f"{found['agreement_shuffled']:.4f} by chance)"
        + "".join(f"\n  - {objection}" for objection in found["objections"]),
    ]
