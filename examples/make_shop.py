"""Make a small shop to try everything with: orders.csv and products.csv.

python examples/make_shop.py shop/
ur4rec convert table --interactions shop/orders.csv --items shop/products.csv --output dataset/shop

300 customers buy from 200 products. Each customer keeps to two or three of ten kinds of product and
each product is described by the words of its kind, so that both orders and texts say something.
"""

import csv
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np

KINDS = {
    "coffee": "beans roasted arabica espresso aroma cup",
    "tea": "leaves green black steeped herbal cup",
    "hiking": "boots trail waterproof mountain sole grip",
    "camping": "tent sleeping bag stove night outdoors",
    "baking": "flour oven tin dough cake whisk",
    "garden": "seeds soil pot spade flowers summer",
    "cycling": "helmet saddle chain tyre road light",
    "painting": "brush canvas oil colours easel paper",
    "music": "strings guitar pick tuner sound practice",
    "reading": "novel paperback lamp shelf bookmark story",
}
ADJECTIVES = ("Small", "Sturdy", "Fine", "Classic", "Light", "Bright", "Simple", "Handy")
START = datetime(2024, 1, 1, 8, tzinfo=timezone.utc)


def products(rng: np.random.Generator, count: int = 200) -> list[dict[str, str]]:
    """Return products of all kinds in turn."""
    rows = []
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        words = rng.permutation(KINDS[kind].split())
        rows.append(
            {
                "sku": f"P{number:03d}",
                "name": f"{rng.choice(ADJECTIVES)} {kind} {words[0]} no. {number}",
                "description": f"For {kind}: {', '.join(words[:4])}.",
                "category": kind,
            }
        )
    return rows


def orders(
    rng: np.random.Generator, goods: list[dict[str, str]], customers: int = 300
) -> list[dict[str, str]]:
    """Return 6 to 20 orders a customer, popular products more often, none twice."""
    appeal = 1 / (1 + np.arange(len(goods)) // len(KINDS))  # falls with the number of a product
    rows = []
    for number in range(customers):
        liked = rng.choice(list(KINDS), size=rng.integers(2, 4), replace=False)
        weight = appeal * np.array([1.0 if row["category"] in liked else 0.02 for row in goods])
        bought = rng.choice(
            len(goods), size=rng.integers(6, 21), replace=False, p=weight / weight.sum()
        )
        when = START + timedelta(days=float(rng.uniform(0, 60)))
        for place in bought:
            when += timedelta(hours=float(rng.exponential(60)))
            rows.append(
                {
                    "customer": f"C{number:03d}",
                    "sku": goods[place]["sku"],
                    "ordered_at": when.isoformat(timespec="seconds"),
                }
            )
    return rows


def main(folder: Path, seed: int = 2020) -> None:
    """Write both tables."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    goods = products(rng)
    for name, rows in (("products", goods), ("orders", orders(rng, goods))):
        with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "shop"))
