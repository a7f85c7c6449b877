"""OpenQASM 2 and 3, read into circuits."""
