"""`nicmapctl`: the command line on the REST API.

Each command has its room, `commands/<name>.py`, loaded only when it is called. `session` is what they share,
`failure` how it ends when it does not work, `table` and `words` how things look.
"""

from nicmapd.cli.program import main

__all__ = ["main"]
