from __future__ import annotations
import numpy as np
def tune(kernels, layers): return [(np.zeros(layers),np.zeros(layers)) for _ in kernels]
def warm_up(a,b): pass
