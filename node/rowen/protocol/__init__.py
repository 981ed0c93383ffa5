"""What the parties say and owe each other: pure, without clock, socket, randomness or disk."""
