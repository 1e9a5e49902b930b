"""What every program in Python needs: the CPU time of this process, and the line at the end, as bench.h has them."""

import json
import os
import resource
import sys
import time

ADDRESS = sys.argv[1]  # where the server is: all programs here are called alike


def name(n):
    return f"bench:{n:010d}"


def moment():
    """When it is, and what this process has used of its CPUs until now, in nanoseconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.monotonic_ns(), round((used.ru_utime + used.ru_stime) * 1e9)


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def ready():
    print("ready", flush=True)


def tell(first, last, **found):
    print(json.dumps({**found, "wall_ns": last[0] - first[0], "cpu_ns": last[1] - first[1], "rss": resident()}), flush=True)
