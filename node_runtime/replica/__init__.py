"""What a replica is and how two of them agree. Pure: no I/O, no clock, no randomness.

Reading order: `path`, `version`, `entry`, `filters`, `policies`, `reconcile`, `moves`, `conflict`.
"""
