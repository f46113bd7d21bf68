"""Questions and their answers (text,category in a CSV file) as events, and the share that Relish answers right.

    python3 examples/questions.py events FILE | relish import --data D --format native -
    python3 examples/questions.py measure FILE http://localhost:8080 [MODEL]

A category is an item whose title is its name. Three quarters of the questions, drawn at random, are events: each has
a list of all items in random order, and a click on the right one. measure asks the others over HTTP and prints hit@1
and the mean reciprocal rank.
"""

import csv
import gzip
import json
import random
import sys
import urllib.request

rng = random.Random(7)
with gzip.open(sys.argv[2], "rt") as f:
    rows = list(csv.DictReader(f))
rng.shuffle(rows)
items = sorted({row["category"] for row in rows})
cut = len(rows) * 3 // 4


def events():
    time = 1_750_000_000_000
    for item in items:
        yield {"type": "item", "id": f"i-{item}", "item": item, "title": item.replace("_", " "), "time": time}
    for i, row in enumerate(rows[:cut]):
        time += 60_000
        order = items[:]
        rng.shuffle(order)
        user = f"u{rng.randrange(2000)}"
        yield {"type": "impression", "id": f"q{i}", "user": user, "items": order,
               "context": {"query": row["text"]}, "time": time}
        yield {"type": "interaction", "id": f"c{i}", "user": user, "item": row["category"], "action": "click",
               "impression": f"q{i}", "time": time + 5000}


def rank_of(i, row, url, model):
    body = {"user_id": f"t{i}", "candidates": items, "context": {"query": row["text"]}, "record": False,
            "deadline_ms": 10_000, "model": model}
    request = urllib.request.Request(f"{url}/recommend", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        order = [item["id"] for item in json.load(answer)["items"]]
    return 1 + order.index(row["category"])


if sys.argv[1] == "events":
    for event in events():
        print(json.dumps(event))
else:
    model = sys.argv[4] if len(sys.argv) > 4 else ""
    ranks = [rank_of(i, row, sys.argv[3], model) for i, row in enumerate(rows[cut:])]
    print(f"hit@1 {100 * sum(r == 1 for r in ranks) / len(ranks):.2f} %, "
          f"MRR {sum(1 / r for r in ranks) / len(ranks):.4f}, {len(ranks)} questions")
