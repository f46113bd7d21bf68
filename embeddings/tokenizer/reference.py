"""Reads JSON strings from standard input, one a line; prints the reference tokenizer's ids as JSON lists.

Usage: reference.py TOKENIZER_JSON
"""
import json
import sys

from tokenizers import Tokenizer

t = Tokenizer.from_file(sys.argv[1])
t.no_padding()
t.no_truncation()
t.encode_special_tokens = True
batch = [json.loads(line) for line in sys.stdin]
for e in t.encode_batch(batch):
    print(json.dumps(e.ids))
