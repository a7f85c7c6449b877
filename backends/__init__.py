"""Execution targets behind one protocol (`base.Backend`), each in its own file; `registry` names them."""
