"""What the file tools are made of: a folder opened beneath, secrets, reading, searching, writing."""
