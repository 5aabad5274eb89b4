import type { Sampling } from "../sampling.js";

/** What holds where nobody says otherwise: tokens are drawn from the model's own distribution. */
export const DEFAULT_SAMPLING: Sampling = {
  temperature: 1,
  top_k: 0,
  top_p: 1,
  min_p: 0,
  repetition_penalty: 1,
  presence_penalty: 0,
  frequency_penalty: 0,
  penalty_decay: 1,
  penalty_window: 1024,
  logit_bias: {},
};
