"""What the image and audio tools are made of: files by their bytes, calls with limits."""
