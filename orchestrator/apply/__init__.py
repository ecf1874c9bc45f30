"""Reach the nodes: ask what they run, push what they should run, say what became of it.

Reading order: `host` (the contract), `conversation`, `local` and `ssh` (the ways), `access` (which way leads
to which node), `observe`, `rollout`, `report`, `saved`, `overview`.
"""
