"""`python -m node_runtime.cli`: the same program where its script isn't on the PATH."""

from node_runtime.cli import main

main()
