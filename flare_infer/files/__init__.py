"""Files beside the images: JSON, hashes, and writing that never leaves half a file."""
