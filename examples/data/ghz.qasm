OPENQASM 3;
include "stdgates.inc";
qubit[4] q;
bit[4] c;
h q[0];
for int k in [0:2] { cx q[k], q[k + 1]; }
c = measure q;
