"""The loops of lanes_body.h, compiled once for every instruction set."""
from cpython.pycapsule cimport PyCapsule_New

from lanes cimport wm_loops


cdef extern from "variants.h":
    wm_loops wm_current
    int wm_choose(int) noexcept

wm_choose(-1)

# What the other compiled modules call through.
LOOPS = PyCapsule_New(&wm_current, "watermark.kernels.loops", NULL)


def force(int level):
    """Use one variant, for tests: 0 scalar, 1 sse2, 2 avx2, 3 avx512, -1 the widest.

    Returns its name, or None where it does not run here.
    """
    return wm_current.name.decode() if wm_choose(level) else None
