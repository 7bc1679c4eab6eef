"""Tests wfvae.ray with a real Ray: two machines of one CPU each, which are processes of this one, and one with two.

check.py [NAME...]   runs all, or those that have these names; `make check-ray` makes the environment first"""

import logging
import os
import pathlib
import sys
import tempfile
import time

import ray
from ray.cluster_utils import Cluster

import jobs
import rows
import sinks
from base import failed, make_inputs, passed, reference

# Rays of the user's are none of this one's.
for name in "RAY_ADDRESS", "OMP_NUM_THREADS":
    os.environ.pop(name, None)
begin = time.monotonic()


def timed(tests, *arguments):
    for test in tests:
        if not sys.argv[1:] or test.__name__ in sys.argv[1:]:
            start = time.monotonic()
            test(*arguments)
            print(f"{test.__name__:<40}{time.monotonic() - start:6.1f} s", flush=True)


with tempfile.TemporaryDirectory(prefix="wfvae-ray-") as folder:
    folder = pathlib.Path(folder)
    # Not with those of the user's.
    os.environ["RAY_TMPDIR"] = str(folder / "ray")
    # Of the programs' folders.
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
    (folder / "tmp").mkdir()
    source = make_inputs(folder / "films")
    expected = reference(source, folder / "reference", posterior="moments")
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 200_000_000}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1, object_store_memory=200_000_000)
    try:
        timed(jobs.TESTS, cluster, source, folder, expected)
        ray.init(cluster.address, log_to_driver=False, logging_level="error")
        # It prints the errors that tests expect.
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        ray.data.DataContext.get_current().enable_progress_bars = False
        timed([*rows.TESTS, *sinks.TESTS], source, folder, expected)
    finally:
        ray.shutdown()
        cluster.shutdown()
print(f"{len(passed)} passed, {len(failed)} failed, {time.monotonic() - begin:.0f} s")
sys.exit(1 if failed else 0)
