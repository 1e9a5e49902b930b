"""What a program needs that receives messages: how many of which size, its second and third argument, and its line at the end."""

import sys

from measure import name, tell

MESSAGES, PAYLOAD = int(sys.argv[2]), int(sys.argv[3])


def report(lengths, first, last):
    """The line of a program that received all messages, of which names and payloads have `lengths` bytes together."""
    if lengths != MESSAGES * (len(name(0)) + PAYLOAD):
        sys.exit(f"the lengths add up to {lengths}")
    tell(first, last, messages=MESSAGES, lengths=lengths)
