"""HTTP in, JSON out: what other programs see of the map. No SQL, no libvirt; the only room that knows HTTP.

`app.create_app` puts it together; `edge` is the outermost layer (paths, limits, errors to problem documents),
`query` the keys after `?`, `selection` finds what `{vm}` and `{nic}` mean, `past` asks the store, `rendering` makes
JSON of the model, `documents` describes that JSON for OpenAPI, `reading` and `health` have the routes, `events` the
stream of changes that `feed` reads, `routes` says how a route is declared, `server` and `sockets` carry it.
"""

from nicmapd.api.app import create_app
from nicmapd.api.feed import Feed
from nicmapd.api.service import Service

__all__ = ["Feed", "Service", "create_app"]
