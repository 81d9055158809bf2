"""Erasure: records leave the archive for good, the bytes in its files and the values in its log included."""
