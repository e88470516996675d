"""What must hold on every host before a run is worth starting: `prorl doctor cluster` asks it."""
