"""Public file formats, one file each; `registry` names them and detects them."""
