"""Where the time goes: the event loop of the service under cProfile in a flood.

    python -m benchmarks.profile

It is no measure of speed: the profiler makes everything slower, and Python more so than C.
"""

import cProfile
import pstats

import uvloop

from benchmarks.contender import join_users, receive
from benchmarks.events import COUNTS, SIZE
from benchmarks.machinery import child, folder, nats_server

SHOWN = 15


def main() -> None:
    """Profile the loop, and print the functions with the most time of their own."""
    with nats_server() as server, folder() as place:
        path = str(place / "bench.db")
        join_users(path)
        profile = cProfile.Profile()
        count = COUNTS["service"]
        # Started first, so that what it publishes before there is a subscription is not waited for.
        with child("publisher", server.url, "bench.db", 4 * count, 0, SIZE):
            profile.runcall(uvloop.run, receive("service", server.url, path, "bench.db", count))
        pstats.Stats(profile).sort_stats("tottime").print_stats(SHOWN)


if __name__ == "__main__":
    main()
