#!/usr/bin/env python3
"""Turns purchase sequences into Relish's native events, on standard output.

    sequences.py games  ../shared/data/games  events    items and what users bought
    sequences.py games  ../shared/data/games  lists     lists of 20 to be ranked, with the item that was bought next
    sequences.py beauty ../shared/data/beauty events --leave-last 6000
    sequences.py beauty ../shared/data/beauty lists  --leave-last 6000

The sequences have an order and no times. Each user's purchases are spread at random over one year, in their
order, so that the log looks like one that a shop wrote.

Games brings its own validation lists. For Beauty, --leave-last N takes the last item of N users, chosen at
random, out of the events, and makes a list of it and 99 random items that the user never had.
"""

import argparse
import gzip
import json
import random
import sys

YEAR = 365 * 24 * 3600 * 1000
START = 1_700_000_000_000


def lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as f:
        return [line.rstrip("\n") for line in f]


def games(folder):
    items = []
    for line in lines(f"{folder}/items.tsv.gz")[1:]:
        item, _, title = line.partition("\t")
        items.append({"item": item, "title": title})
    sequences = {}
    for line in lines(f"{folder}/train_sequences.tsv.gz"):
        user, _, bought = line.partition("\t")
        if user.isdigit():
            sequences[user] = bought.split()
    return items, sequences


def beauty(folder):
    items = []
    for line in lines(f"{folder}/items.jsonl.gz"):
        it = json.loads(line)
        items.append({"item": str(it["id"]), "title": it["title"], "fields": {"category": it["categories"]}})
    sequences = {}
    for line in lines(f"{folder}/train_sequences.txt.gz"):
        user, *bought = line.split()
        sequences[user] = bought
    return items, sequences


def game_lists(folder):
    for line in lines(f"{folder}/valid_candidates.tsv.gz")[1:]:
        user, candidates, positive = line.split("\t")
        yield user, candidates.split(), positive


def left_lists(left, items, sequences, rng):
    ids = [it["item"] for it in items]
    for user, last in left.items():
        had = set(sequences[user]) | {last}
        candidates = [last]
        while len(candidates) < 100:
            item = rng.choice(ids)
            if item not in had and item not in candidates:
                candidates.append(item)
        rng.shuffle(candidates)
        yield user, candidates, last


def write(event):
    json.dump(event, sys.stdout, ensure_ascii=False, separators=(",", ":"))
    sys.stdout.write("\n")


def write_events(items, sequences, rng):
    for it in items:
        write({"type": "item", "id": f"item-{it['item']}", "time": START, **it})
    steps = []
    for user, bought in sequences.items():
        times = sorted(START + rng.randrange(YEAR) for _ in bought)
        steps += [(t, user, k, item) for k, (t, item) in enumerate(zip(times, bought))]
    for t, user, k, item in sorted(steps):
        write({"type": "interaction", "id": f"{user}-{k}", "time": t, "user": user, "item": item, "action": "purchase"})


def write_lists(lists):
    for n, (user, candidates, positive) in enumerate(lists):
        write({"type": "impression", "id": f"list-{n}", "time": START + YEAR + n, "user": user, "items": candidates})
        write({"type": "interaction", "id": f"next-{n}", "time": START + YEAR + n, "user": user, "item": positive,
               "action": "purchase", "impression": f"list-{n}"})


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("set", choices=["games", "beauty"])
    p.add_argument("folder")
    p.add_argument("what", choices=["events", "lists"])
    p.add_argument("--leave-last", type=int, default=0, metavar="N")
    args = p.parse_args()
    rng = random.Random(7)
    items, sequences = {"games": games, "beauty": beauty}[args.set](args.folder)
    left = {}
    for user in rng.sample(sorted(sequences), args.leave_last):
        if len(sequences[user]) > 1:
            left[user] = sequences[user].pop()
    if args.what == "events":
        write_events(items, sequences, rng)
    elif args.set == "games":
        write_lists(game_lists(args.folder))
    else:
        write_lists(left_lists(left, items, sequences, rng))


if __name__ == "__main__":
    main()
