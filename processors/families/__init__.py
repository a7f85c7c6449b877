"""Problem families, one file each; `FAMILIES` in `registry` names them."""
