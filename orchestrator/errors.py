"""Failures by who has to act. Only the command line turns them into exit codes."""

from __future__ import annotations


class OperatorError(Exception):
    """The person at the keyboard has to act; the message says what to do."""
