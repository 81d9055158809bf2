"""The compaction of the archive: what has expired goes, small files become large, records follow changed policies."""
