"""The other side of the Arrow tests: what pandas, Spark or DuckDB users would do.

  arrow.py write FOLDER      writes users.arrow and items.arrow
  arrow.py parquet FOLDER    writes events.parquet and items.parquet
  arrow.py read SNAPSHOT     prints what pyarrow, and DuckDB over pyarrow, find in a snapshot
  arrow.py same SNAPSHOT...  prints in what snapshots differ, the order of rows and who counted aside
"""
import datetime
import decimal
import json
import math
import os
import sys

import duckdb
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq


def write(path, table, **options):
    with ipc.new_file(path, table.schema, options=ipc.IpcWriteOptions(**options)) as out:
        out.write_table(table)


def write_tables(folder):
    write(os.path.join(folder, "users.arrow"), pa.table({
        "user": pa.array(["reader", "other"]).dictionary_encode(),
        "loyalty": [0.75, None],
        "vip": [True, False]}))
    write(os.path.join(folder, "items.arrow"), pa.table({
        "item": pa.array(["book-001", "film-001"], pa.large_string()),
        "margin": pa.array([1.5, -2.0], pa.float64())}), compression="zstd")


def write_parquet(folder):
    at = datetime.datetime(2026, 5, 1, 10, tzinfo=datetime.timezone.utc)
    n = 3000
    pq.write_table(pa.table({
        "visitor": pa.array([f"u{i % 50}" for i in range(n)]).dictionary_encode(),
        "sku": pa.array([i % 70 if i else None for i in range(n)], pa.int64()),
        "event": ["view" if i % 3 else "order" for i in range(n)],
        "ts": pa.array([at + datetime.timedelta(seconds=i) for i in range(n)],
                       pa.timestamp("us", "UTC")),
        "amount": pa.array([None if i % 3 else decimal.Decimal(i) / 4 for i in range(n)], pa.decimal128(12, 2)),
    }), os.path.join(folder, "events.parquet"), row_group_size=1000)
    pq.write_table(pa.table({
        "sku": pa.array(range(60), pa.int32()),
        "name": [f"lamp {i}" for i in range(60)],
        "tags": pa.array([["home", f"t{i % 5}"] if i % 2 else [] for i in range(60)]),
        "price": [float(i) if i else None for i in range(60)],
        "released": pa.array([datetime.date(2026, 1, 1 + i % 28) for i in range(60)]),
        "size": pa.array([{"w": i, "h": 1.5} for i in range(60)]),
    }), os.path.join(folder, "items.parquet"), compression="zstd")


FILES = ("items", "users", "history", "counters")


def table(folder, name):
    with pa.OSFile(os.path.join(folder, name + ".arrow")) as f:
        return ipc.open_file(f).read_all()


def rows(folder, name):
    """A table's rows in an order of their own; of equal times in a history the file's order counts."""
    keys = {"history": ("user", "kind")}.get(name, ("scope", "item", "user", "id", "field", "value", "replica"))
    found = sorted(table(folder, name).to_pylist(), key=lambda r: [str(r.get(k)) for k in keys])
    for r in found:
        r.pop("replica", None)
    return found


def close(a, b):
    """Decayed sums agree to 1e-9, everything else exactly."""
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
    return a == b


def compare(first, *others):
    for name in FILES:
        for folder in others:
            a, b = rows(first, name), rows(folder, name)
            if len(a) != len(b):
                print(f"{name} has {len(a)} rows, {len(b)} in {folder}")
            for x, y in zip(a, b):
                if not all(close(x[c], y[c]) for c in x):
                    print(f"{name}: {x}\nin {folder}: {y}")
                    break


def read_snapshot(folder):
    items, users, history, counters = (table(folder, n) for n in FILES)
    liked = duckdb.sql("""
        SELECT i.title, count(*) AS n FROM history h JOIN items i ON i.item = h.item
        WHERE h.kind = 'interaction' GROUP BY i.title ORDER BY n DESC, i.title LIMIT 1""").fetchone()
    print(json.dumps({
        "items": items.num_rows, "users": users.num_rows, "history": history.num_rows, "counters": counters.num_rows,
        "titles": items.column("title").to_pylist()[:1], "liked": liked}))


{"write": write_tables, "parquet": write_parquet, "read": read_snapshot, "same": compare}[sys.argv[1]](*sys.argv[2:])
