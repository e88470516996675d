"""Small experiments on ProRL's own questions, on a CPU: `python -m benchmarks.studies`. See docs/studies.md."""
