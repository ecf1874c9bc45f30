"""The node's side of the network: SSH connections, who is let in, and sessions over byte streams.

It knows nothing of files or of when anything runs. Reading order: `admission`, `keys`, `ssh`, `channel`,
`stream`.
"""
