"""Problems that are quadratic polynomials: max-cut, QUBO, Ising."""
