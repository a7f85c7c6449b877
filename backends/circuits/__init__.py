"""What circuits are made of: counted, measured, laid out on devices, translated to Cirq."""
