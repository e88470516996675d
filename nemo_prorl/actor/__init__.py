"""The policy as an actor: it generates, gives logprobs, gives loss and metrics, and exports its weights."""
