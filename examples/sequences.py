#!/usr/bin/env python3
"""Converts purchase sequences to native events, written to standard output.

    sequences.py games  GAMES  events    items, and what users bought
    sequences.py games  GAMES  lists     lists of 20 items with the one that was bought next
    sequences.py beauty BEAUTY events --leave-last 6000
    sequences.py beauty BEAUTY lists  --leave-last 6000

GAMES and BEAUTY are the folders of the data sets. A sequence has an order but no times. Each user's
purchases get random times within one year, in their order, like in a shop's log.

Games has its own validation lists. For Beauty, --leave-last N samples N users and removes the last
item of each from the events. The list of such a user is this item and 99 random items that the user
never bought.
"""

import argparse
import gzip
import json
import random
import sys

YEAR = 365 * 24 * 3600 * 1000  # ms
START = 1_700_000_000_000  # Unix ms


def lines(path):
    """Returns the lines of a gzip file."""
    with gzip.open(path, "rt", encoding="utf-8") as f:
        return [line.rstrip("\n") for line in f]


def games(folder):
    """Returns the items of Games, and what each user bought."""
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
    """Returns the items of Beauty, and what each user bought."""
    items = []
    for line in lines(f"{folder}/items.jsonl.gz"):
        it = json.loads(line)
        items.append({"item": str(it["id"]), "title": it["title"],
                      "fields": {"category": it["categories"]}})
    sequences = {}
    for line in lines(f"{folder}/train_sequences.txt.gz"):
        user, *bought = line.split()
        sequences[user] = bought
    return items, sequences


def game_lists(folder):
    """Yields the validation lists of Games: user, candidates, and the item bought next."""
    for line in lines(f"{folder}/valid_candidates.tsv.gz")[1:]:
        user, candidates, positive = line.split("\t")
        yield user, candidates.split(), positive


def held_out_lists(held_out, items, sequences, rng):
    """Yields the lists of the held-out items in the same form."""
    ids = [it["item"] for it in items]
    for user, last in held_out.items():
        bought = set(sequences[user]) | {last}
        candidates = [last]
        while len(candidates) < 100:
            item = rng.choice(ids)
            if item not in bought and item not in candidates:
                candidates.append(item)
        rng.shuffle(candidates)
        yield user, candidates, last


def write(event):
    """Writes one event as a line."""
    json.dump(event, sys.stdout, ensure_ascii=False, separators=(",", ":"))
    sys.stdout.write("\n")


def write_events(items, sequences, rng):
    """Writes the items, then the purchases by time."""
    for it in items:
        write({"type": "item", "id": f"item-{it['item']}", "time": START, **it})
    purchases = []
    for user, bought in sequences.items():
        times = sorted(START + rng.randrange(YEAR) for _ in bought)
        purchases += [(t, user, k, item) for k, (t, item) in enumerate(zip(times, bought))]
    for t, user, k, item in sorted(purchases):
        write({"type": "interaction", "id": f"{user}-{k}", "time": t, "user": user, "item": item,
               "action": "purchase"})


def write_lists(lists):
    """Writes each list as an impression, followed by its purchase."""
    for n, (user, candidates, positive) in enumerate(lists):
        time = START + YEAR + n
        write({"type": "impression", "id": f"list-{n}", "time": time, "user": user,
               "items": candidates})
        write({"type": "interaction", "id": f"next-{n}", "time": time, "user": user,
               "item": positive, "action": "purchase", "impression": f"list-{n}"})


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("set", choices=["games", "beauty"])
    p.add_argument("folder")
    p.add_argument("what", choices=["events", "lists"])
    p.add_argument("--leave-last", type=int, default=0, metavar="N")
    args = p.parse_args()
    rng = random.Random(7)
    items, sequences = {"games": games, "beauty": beauty}[args.set](args.folder)
    held_out = {}
    for user in rng.sample(sorted(sequences), args.leave_last):
        if len(sequences[user]) > 1:
            held_out[user] = sequences[user].pop()
    if args.what == "events":
        write_events(items, sequences, rng)
    elif args.set == "games":
        write_lists(game_lists(args.folder))
    else:
        write_lists(held_out_lists(held_out, items, sequences, rng))


if __name__ == "__main__":
    main()
