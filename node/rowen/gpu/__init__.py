"""What a GPU says of itself: load, processes, memory, energy; and whose work it is doing."""
