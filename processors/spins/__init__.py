"""The engine of spin polynomials: presolve, search, kernel, angles."""
