"""Classical solvers of kernels."""
