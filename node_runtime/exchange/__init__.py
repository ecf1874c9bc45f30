"""What two nodes say to each other about one edge, and in what order. Pure: no sockets, no files.

Reading order: `messages` (the words), `session` (what carries them), `conversation` (how far the two
ends have come), `fetch` (which content to ask for next).
"""
