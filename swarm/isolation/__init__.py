"""What a process is kept from, by the kernel: the trainer from everything but its data, the node from the data."""
