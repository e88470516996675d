"""The mathematics of ProRL: pure functions on tensors. No config, no model, no device, no process group.

Letters: B responses, T predicted tokens, G groups, N samples a group. Below, each formula with the function that is
it and the test that holds it to numbers worked by hand or to its law.
"""

INDEX = (
    # formula, function, test
    (
        "Eq. 1, surrogate: -min(r A, clip(r, 1 - eps, 1 + eps) A)",
        "nemo_prorl.algorithm.objective:grpo",
        "tests/algorithm/test_objective.py::test_grpo_is_clip_higher_with_equal_bounds",
    ),
    (
        "Eq. 1, ratio r = exp(logp - old)",
        "nemo_prorl.algorithm.ratio:probability_ratio",
        "tests/algorithm/test_ratio.py::test_a_ratio_is_the_quotient_of_the_probabilities",
    ),
    (
        "Eq. 2, advantage: (R - mean) / std within a group",
        "nemo_prorl.algorithm.advantage:group_relative",
        "tests/algorithm/test_advantage.py::test_five_right_of_sixteen",
    ),
    (
        "advantage, REINFORCE++ baseline: R - mean of the group, over the std of the whole step",
        "nemo_prorl.algorithm.advantage:group_mean_global_std",
        "tests/algorithm/test_advantage.py::test_the_step_s_own_spread_divides_what_is_measured_from_group_means",
    ),
    (
        "advantage without a standard deviation (Dr. GRPO)",
        "nemo_prorl.algorithm.advantage:group_mean",
        "tests/algorithm/test_advantage.py::test_without_a_standard_deviation_only_the_mean_is_taken_off",
    ),
    (
        "termination penalty (Appendix E): factor R - penalty for a cut response",
        "nemo_prorl.algorithm.shaping:termination_penalty",
        "tests/algorithm/test_shaping.py::test_a_cut_answer_costs_and_another_does_not",
    ),
    (
        "soft overlong: linear to -1 over the last tokens before the limit (DAPO)",
        "nemo_prorl.algorithm.shaping:soft_overlong",
        "tests/algorithm/test_shaping.py::test_the_penalty_grows_through_the_buffer_and_no_further",
    ),
    (
        "scheduled cosine length (ProRL v2): R + weight eta(t), on and off in turn",
        "nemo_prorl.algorithm.shaping:cosine_length",
        "tests/algorithm/test_shaping.py::test_the_shortest_gains_most_and_the_longest_least",
    ),
    (
        "Eq. 3, decoupled bounds: clip(r, 1 - low, 1 + high)",
        "nemo_prorl.algorithm.objective:clip_higher",
        "tests/algorithm/test_objective.py::test_only_the_bound_on_the_favoured_side_bites",
    ),
    (
        "dual clip: for A < 0 the loss is at most -c A",
        "nemo_prorl.algorithm.objective:clip_higher",
        "tests/algorithm/test_objective.py::test_dual_clip_bounds_the_loss_of_falling_tokens_alone",
    ),
    (
        "Eq. 4, KL(policy || reference): k1, k2, k3, value and gradient apart",
        "nemo_prorl.algorithm.kl:kl_penalty",
        "tests/algorithm/test_kl.py::test_k2_follows_the_gradient_of_the_exact_kl",
    ),
    (
        "Eq. 1 with Eq. 4: surrogate + beta KL",
        "nemo_prorl.algorithm.policy_loss:PolicyLoss",
        "tests/algorithm/test_policy_loss.py::test_the_loss_is_the_surrogate_plus_beta_times_the_kl",
    ),
    (
        "aggregation: every token of the update weighs the same (DAPO)",
        "nemo_prorl.algorithm.reduction:token_mean",
        "tests/algorithm/test_reduction.py::test_three_ways_to_weigh_the_same_tokens",
    ),
    (
        "aggregation: every response weighs the same (GRPO)",
        "nemo_prorl.algorithm.reduction:sequence_mean",
        "tests/algorithm/test_reduction.py::test_three_ways_to_weigh_the_same_tokens",
    ),
    (
        "aggregation: sum over a constant length (Dr. GRPO)",
        "nemo_prorl.algorithm.reduction:constant_length",
        "tests/algorithm/test_reduction.py::test_three_ways_to_weigh_the_same_tokens",
    ),
    (
        "sampler correction, token TIS: min(w, C), w = exp(old - sampler)",
        "nemo_prorl.algorithm.correction:token_tis",
        "tests/algorithm/test_correction.py::test_weights_repair_the_sampler_and_are_truncated",
    ),
    (
        "sampler correction, two-sided (icepop): w where low <= w <= high, else 0",
        "nemo_prorl.algorithm.correction:icepop",
        "tests/algorithm/test_correction.py::test_icepop_leaves_out_tokens_beyond_either_bound",
    ),
    (
        "sampler correction, sequence mask: w where low <= exp(mean log w) <= high, else 0 for the whole response",
        "nemo_prorl.algorithm.correction:sequence_mask",
        "tests/algorithm/test_correction.py::test_a_sequence_is_kept_or_dropped_whole_by_its_geometric_mean",
    ),
    (
        "token mult. prob. error: mean of exp |trainer's - sampler's logprob| (NeMo-RL)",
        "nemo_prorl.algorithm.mismatch:sampler_mismatch",
        "tests/algorithm/test_mismatch.py::test_the_mismatch_with_the_sampler_by_hand",
    ),
    (
        "reference reset (section 2.3.1), every k steps",
        "nemo_prorl.algorithm.reset:EveryKSteps",
        "tests/algorithm/test_reset.py::test_every_k_steps_is_due_at_the_kth_step_without_a_reset",
    ),
    (
        "reference reset (section 2.3.1), at a stage's entry",
        "nemo_prorl.algorithm.reset:AtEntry",
        "tests/algorithm/test_reset.py::test_a_stage_begins_with_a_reset_except_at_the_very_first_step",
    ),
    (
        "reference reset when validation stagnates (section 3.2)",
        "nemo_prorl.algorithm.reset:ValidationStalls",
        "tests/algorithm/test_plateau.py::test_a_plateau_is_seen_when_the_best_score_is_so_many_validations_old",
    ),
    (
        "reference reset when validation degrades (section 3.2)",
        "nemo_prorl.algorithm.reset:ValidationDrops",
        "tests/algorithm/test_plateau.py::test_a_drop_is_measured_from_the_best",
    ),
    (
        "the end of run 3: a sudden increase in response length (Appendix E)",
        "nemo_prorl.algorithm.ending:WhenResponsesJump",
        "tests/algorithm/test_ending.py::test_a_jump_compares_the_last_steps_with_those_just_before",
    ),
    (
        "Eq. 5, bound of pass@k: 1 - ((1 - E rho)^2 + Var rho)^(k/2)",
        "nemo_prorl.evaluation.pass_at_k:pass_at_k_bound",
        "tests/evaluation/test_pass_at_k.py::test_mean_pass_at_k_stays_below_the_bound_of_its_first_two_moments",
    ),
    (
        "pass@k: 1 - C(n - c, k) / C(n, k)",
        "nemo_prorl.evaluation.pass_at_k:pass_at_k",
        "tests/evaluation/test_pass_at_k.py::test_pass_at_k_is_the_share_of_subsets_with_a_right_answer",
    ),
)
