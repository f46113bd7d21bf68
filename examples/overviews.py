#!/usr/bin/env python3
"""Turns lines like {"id": ..., "overview": ...} into native item events.

    zcat items.jsonl.gz | python3 examples/overviews.py | relish import --data D --format native -

An item event merges into what is known of the item, so only the text is set. The time is the one that
the log's own item events carry: the latest time wins per field, and these events bring a new field.
"""
import json
import sys

for line in sys.stdin:
    item = json.loads(line)
    if item.get("overview"):
        print(json.dumps({
            "type": "item", "id": "overview-" + item["id"], "item": item["id"],
            "time": 1636907100000, "text": item["overview"],
        }))
