"""Bytes to values and back: events, arrays, public file formats. Imports nothing else of qmosaic."""
