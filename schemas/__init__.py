"""The documents: the one contract between the orchestrator and the node runtimes.

Reading order: `plans` (what a node is told to do), `status` (what a node reports), `control` (the
conversation that carries both), then `topology` (what people write) and `validate`.
"""
