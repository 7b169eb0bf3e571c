"""What the cases share: the model server, the databases beside their raw drivers, samples, and the page."""
