"""The way in: sockets, TLS, who is there, what that one may do, how much of it, and the record of changes asked for."""
