"""The running node: what joins disk, exchange and net. See `DESIGN.md`."""
