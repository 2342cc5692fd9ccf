"""How fast it is: one question a file, peers and ours in turns in one run.

``python -m benchmarks.mailbox`` answers one question, ``make bench`` all of them.
"""
