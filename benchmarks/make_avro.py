"""Makes an Avro file of a Parquet file, with decimals as doubles.

python -m benchmarks.make_avro lineitem.parquet lineitem.avro
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import fastavro
import pyarrow as pa
from pyarrow import parquet as pq

_BLOCK_BYTES = 64_000


def _avro_type(kind: pa.DataType) -> object:
    if pa.types.is_decimal(kind):
        return "double"
    if pa.types.is_date(kind):
        return {"type": "int", "logicalType": "date"}
    return "long" if pa.types.is_integer(kind) else "string"


def _rows(file: pq.ParquetFile) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(batch_size=10_000):
        fields = [
            pa.field(field.name, pa.float64() if pa.types.is_decimal(field.type) else field.type)
            for field in batch.schema
        ]
        yield from batch.cast(pa.schema(fields)).to_pylist()


source, output = sys.argv[1:]
parquet = pq.ParquetFile(source)
schema = {
    "type": "record",
    "name": "lineitem",
    "fields": [{"name": f.name, "type": _avro_type(f.type)} for f in parquet.schema_arrow],
}
with open(output, "wb") as avro:  # noqa: PTH123
    fastavro.writer(avro, schema, _rows(parquet), codec="deflate", sync_interval=_BLOCK_BYTES)
