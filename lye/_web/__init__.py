"""What the web tools are made of: one safe GET, what it may reach, and bytes as text."""
