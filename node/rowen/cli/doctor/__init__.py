"""``rowen doctor``: what is wrong with a node, each trouble by a code of its own."""
