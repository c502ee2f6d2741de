"""With glibc, freed memory stays with the process: arrays made again and again take no new pages."""

import subprocess
import sys

#: Prints the pages that came while 200 arrays of 1 MiB (256 pages of 4 KiB each) were made and freed one after another. Below
#: 4 MiB numpy asks for no huge pages.
_PROGRAM = """
import resource
import numpy as np
from bitting import malloc
if {keeps}:
    malloc.keep_freed()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(1 << 17)
before = faults()
for _ in range(200):
    np.ones(1 << 17)
print(faults() - before)
"""


def pages(keeps: bool) -> int:
    """That came, in a process of its own: what other tests left of the heap would count."""
    command = [sys.executable, "-c", _PROGRAM.format(keeps=keeps)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_arrays_take_no_new_pages():
    assert pages(keeps=True) < 2 * 256, "an array or two, and not one for each"
