"""The map and its past in SQLite or PostgreSQL: the only room with SQL (with schema.py, the tables).

`opening` takes the lock, checks and migrates; `sql_store` is the `NicStore` port; `writing`, `reading` and `pruning`
are its statements; `codec` turns values into rows and back; `sqlite` and `postgres` are what differs; `faults` says
their errors for people.
"""

from nicmapd.store.opening import open_store, set_aside
from nicmapd.store.sql_store import SqlStore

__all__ = ["SqlStore", "open_store", "set_aside"]
