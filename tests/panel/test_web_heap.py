"""Heaps of the C library: threads that allocate at the same time share one."""

import subprocess
import sys

# Blocks from 16 to 64 kB come from a heap; who has a heap of its own gets them from elsewhere in the memory map.
_COUNT = """
import ctypes, sys, threading
from pdpanel.panel.web.heap import share_heaps
if sys.argv[1] == "shared":
    assert share_heaps()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
found, meet = [], threading.Barrier(4)
def take():
    meet.wait()
    found.append({libc.malloc(30_000) >> 26 for _ in range(50)})
    meet.wait()
threads = [threading.Thread(target=take) for _ in range(4)]
for one in threads: one.start()
for one in threads: one.join()
print(len(set.union(*found)))
"""


def _places(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", _COUNT, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_threads_share_one_heap() -> None:
    # The one heap may lie across a border of the 64 MiB stretches that are counted.
    assert _places("shared") <= 2
    assert _places("own") >= 3
