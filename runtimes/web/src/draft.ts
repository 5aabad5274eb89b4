/** A turn of a conversation: done, and while it is generated. */

import type { Decoder } from "./execution/decoder.js";
import type { Reply, Timing } from "./generate.js";
import type { State } from "./state.js";
import type { StopStrings } from "./text/stopping.js";
import { ThoughtAndAnswer } from "./text/thinking.js";

/** A turn that is done. */
export interface Turn {
  readonly user: string;
  readonly reply: string;
  /** Null once it is too long ago to go back to, or came with a saved state. */
  readonly before: State | null;
}

/** What a draft begins with. */
interface Beginning {
  readonly user: string;
  readonly before: State;
  /** The turns before it. */
  readonly base: readonly Turn[];
  readonly decoder: Decoder;
  /** The state before the reply, or before its first token where a thought that it was made to begin with is kept. */
  readonly prefix: State;
  readonly reply: Reply;
  readonly stops: StopStrings;
  /** Whether a thought stays in the conversation. */
  readonly kept: boolean;
}

/** A turn that is being generated. */
export class Draft {
  readonly ids: number[] = [];
  /** What was shown, but for a thought. */
  answer = "";
  blank = true;
  open = true;

  constructor(
    readonly beginning: Beginning,
    public timing: Timing,
  ) {}

  /** Whether the decoder has seen what is not to stay: a thought, or that there is none. */
  get drops(): boolean {
    const { stops, kept } = this.beginning;
    return stops instanceof ThoughtAndAnswer && !kept && (stops.thinks || stops.begun !== "");
  }

  /** What stays of the reply, from `prefix` on. */
  get text(): string {
    const { stops, kept } = this.beginning;
    return stops instanceof ThoughtAndAnswer && kept ? stops.written : this.answer;
  }
}
