"""Writing Iceberg tables faster than pyiceberg's public methods do.

- `write_file`, `bin_pack_arrow_table`, `pyarrow_to_schema`, `WriteTask`: write rows that are already split by partition.
  The public `append` copies all rows twice to split them, which takes as long as writing them.
- `CachedTransaction`: a transaction that computes the staged metadata once per update. pyiceberg computes it, a deep copy,
  on each of about 30 reads per commit.
"""

from __future__ import annotations

from pyiceberg.io.pyarrow import bin_pack_arrow_table, pyarrow_to_schema, write_file
from pyiceberg.table import Transaction, WriteTask
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import TableUpdate

__all__ = ["CachedTransaction", "WriteTask", "bin_pack_arrow_table", "pyarrow_to_schema", "write_file"]


class CachedTransaction(Transaction):
    """A transaction whose staged metadata is computed again only after an update."""

    _cached: tuple[TableMetadata, tuple[TableUpdate, ...], TableMetadata] | None = None
    """Committed metadata, staged updates, and the metadata that follows from both."""

    @property
    def table_metadata(self) -> TableMetadata:
        committed, updates = self._table.metadata, self._updates
        if self._cached is None or self._cached[0] is not committed or self._cached[1] is not updates:
            self._cached = committed, updates, super().table_metadata
        return self._cached[2]
