"""CT that is painted, not scanned: what tests and the demo use where no patient's CT is at hand."""
