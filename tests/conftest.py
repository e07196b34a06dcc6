"""Two test processes with one thread each: on two cores, two processes with two threads wait for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for the processes that tests start
