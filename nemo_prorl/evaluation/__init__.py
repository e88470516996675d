"""How good a policy is on problems it doesn't train on."""
