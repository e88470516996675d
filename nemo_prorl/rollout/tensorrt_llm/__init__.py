"""Rollouts with TensorRT-LLM, in the trainer's own process: one engine a rank, on the rank's own GPU.

Written from public records of its versions 1.2 to 1.3 (tests/cases/trtllm/contract.json), all of which call this use
of it a prototype: what a version has is looked at, never its number. docs/rollouts.md says how to set it up.

    environment   what must hold in the process before the library is imported
    library       the one door to it: what this version has
    sampling      a request's parameters, and what is read from its output
    weights       the refit, in place
    memory        what goes back to the trainer between rollouts
    engine        the three verbs
"""
