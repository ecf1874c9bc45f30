"""Failures by who has to act. Only the command line makes exit codes of them, only the daemon log lines."""

from __future__ import annotations


class NodeError(Exception):
    """The node's operator has to act; the message says what to do."""


class PeerError(NodeError):
    """A peer is at fault or out of reach. Nobody here can act; the caller tries again later."""
