"""Many runs: plans, benchmarks, searches, ablations, measurements of speed."""
