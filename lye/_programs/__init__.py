"""What the shell and Python tools are made of: words, patterns, one process with limits, isolation."""
