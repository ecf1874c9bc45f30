"""The node runtime: what runs on every node and keeps its replicas in step with its peers'.

It never imports the orchestrator; the two share the documents in `schemas`. Reading order: `replica` (what a
replica is), `exchange` (how two of them talk), `disk`, `net`, and `daemon`, which joins them.
"""

VERSION = "0.1.0"
