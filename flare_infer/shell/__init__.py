"""What every command shares: its last line, interruption, and printing."""
