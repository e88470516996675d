"""What a run tells of itself: metrics, samples, log lines, progress and durations."""
