/** A reply that may begin with a thought, taken apart as it is written: thought, what stands around it, answer. */

import type { Thinking } from "../bundle/chat_format.js";
import { stripEnd, stripStart } from "../common/white_space.js";
import { certain, first, StopStrings } from "./stopping.js";

/**
 * - `opening`  it is not certain yet whether it begins with a thought
 * - `closed`   white space after a thought
 */
type Part = "opening" | "thought" | "closed" | "answer";

/** As StopStrings, of which a thought is let through apart from the answer, and what stands around it nowhere. */
export class ThoughtAndAnswer extends StopStrings {
  /** Whether there is a thought. */
  thinks = false;
  /** All that was let through of what the model wrote, as it was written. */
  written = "";
  private given: number;
  private part: Part = "opening";
  private thought = "";
  private blank = true;

  /**
   * @param thinking - the words that a thought stands between
   * @param begun - what of the reply stands in the prompt: `thinking.open`, `thinking.skip` or ""
   * @param stops - what ends a reply, in its answer
   * @param within - what ends it in a thought, which may be longer than a turn
   */
  constructor(
    private readonly thinking: Thinking,
    readonly begun: string,
    stops: readonly string[],
    private readonly within: readonly string[],
    remember: readonly string[] = [],
  ) {
    super(stops, remember);
    this.text = begun;
    this.shown = new Array<boolean>(begun.length).fill(true);
    this.given = begun.length;
  }

  /** As `StopStrings.push`, of the answer; what is new of the thought is there to be taken. */
  override push(piece: string, hidden = ""): string {
    this.take(piece, hidden);
    if (this.part === "opening") this.open();
    if (this.part === "thought") this.think();
    if (this.part === "closed") {
      this.letThrough(this.text.length - stripStart(this.text).length);
      this.part = this.text === "" ? "closed" : "answer";
    }
    return this.part === "answer" ? this.scan() : "";
  }

  override flush(): string {
    const through = this.letThrough(this.text.length);
    if (this.part === "thought") this.add(stripEnd(through));
    const answers = this.part === "answer" || (this.part === "opening" && this.begun === "");
    return answers ? through : "";
  }

  /** What of the thought may be shown and was not taken yet: without white space around it. */
  takeThought(): string {
    const taken = this.thought;
    this.thought = "";
    return taken;
  }

  protected override letThrough(count: number): string {
    const given = Math.min(count, this.given);
    this.given -= given;
    this.written += this.visible(this.text.slice(0, count), given);
    return super.letThrough(count);
  }

  private open(): void {
    const text = stripStart(this.text);
    const space = this.text.slice(0, this.text.length - text.length);
    const { begin } = this.thinking;
    if (first(space, this.stops) === null && text.startsWith(begin)) {
      this.letThrough(space.length + begin.length);
      this.part = "thought";
      this.thinks = true;
      this.shown.fill(false, 0, this.given); // it is the format's own thought
    } else if (first(space, this.stops) !== null || !begin.startsWith(text)) this.part = "answer";
  }

  private think(): void {
    const { end } = this.thinking;
    const ends = [end, ...this.within];
    const found = first(this.text, ends);
    if (found === null) {
      this.add(this.letThrough(stripEnd(this.text.slice(0, certain(this.text, ends))).length));
    } else if (found.string !== end) {
      this.add(stripEnd(this.end(found.at, found.string)));
    } else {
      this.add(stripEnd(this.letThrough(found.at)));
      this.letThrough(end.length);
      this.part = "closed";
    }
  }

  private add(text: string): void {
    const shown = this.blank ? stripStart(text) : text;
    this.blank = this.blank && shown === "";
    this.thought += shown;
  }
}
