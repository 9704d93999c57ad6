"""The statements of the store, and what differs between its databases; store.py is the door.

`writing`, `reading` and `pruning` are the statements; `codec` turns values into rows and back; `sqlite`, `sqlite_file`,
`postgres` and `postgres_driver` are what differs; `faults` says the databases' errors for people.
"""
