"""Problem families, one folder each; `FAMILIES` in `registry` names them."""
