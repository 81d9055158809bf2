"""Search: the records of the archive that meet what is asked for, the newest first.

What needn't be read isn't: partitions are left out by their date, files by the statistics in the table's log, row
groups by their own statistics and by the Bloom filter of the trace id. Of what is left the columns are read, and the
records themselves only where the columns leave any.
"""
