#!/usr/bin/env python3
"""Converts lines like {"id": ..., "overview": ...} to native item events.

    zcat items.jsonl.gz | python3 examples/overviews.py | relish import --data D --format native -

An item event merges with the stored item, so these events set the text only. Their time is that of
the item events in the data set: the latest time wins for each field, and no other event has a text.
"""
import json
import sys

TIME = 1636907100000  # Unix ms

for line in sys.stdin:
    item = json.loads(line)
    if item.get("overview"):
        print(json.dumps({
            "type": "item", "id": "overview-" + item["id"], "item": item["id"],
            "time": TIME, "text": item["overview"],
        }))
