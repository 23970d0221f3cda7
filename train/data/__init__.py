"""From a folder of cases to patches."""
