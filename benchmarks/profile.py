"""Profile the event loop of the service during a burst: `python -m benchmarks.profile`.

It does not measure speed: the profiler slows everything down, Python more than C.
"""

import cProfile
import pstats

import uvloop

from benchmarks.children import child
from benchmarks.events import COUNTS, SIZE
from benchmarks.harness import PREFIX, nats_server, scratch
from benchmarks.variant import add_users, run

FUNCTIONS = 15
"""Number of functions to print."""


def main() -> None:
    """Profile the loop, and print the functions that take the most time themselves."""
    with nats_server() as url, scratch() as directory:
        path = str(directory / "bench.db")
        add_users(path)
        profile = cProfile.Profile()
        count = COUNTS["service"]
        # The publisher starts first, and messages before the subscription are lost: so it publishes
        # more than are needed.
        with child("publisher", url, PREFIX, 4 * count, 0, SIZE):
            profile.runcall(uvloop.run, run("service", url, path, PREFIX, count))
        pstats.Stats(profile).sort_stats("tottime").print_stats(FUNCTIONS)


if __name__ == "__main__":
    main()
