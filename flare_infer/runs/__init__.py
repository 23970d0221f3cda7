"""What a run over a folder keeps in writing: results, hashes, the journal, the report, and the lock on its outputs."""
