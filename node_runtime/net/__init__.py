"""Sockets and SSH: what carries sessions. See `DESIGN.md`."""
