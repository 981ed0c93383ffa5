"""What `make contracts-long` runs: coverage, static analysis, proofs, mutants and long fuzzing."""
