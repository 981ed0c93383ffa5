"""Who serves a job, at what price and where: pure decisions that import nothing of ours."""
